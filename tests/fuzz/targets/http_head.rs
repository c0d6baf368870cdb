//! The head of a request to the HTTP proxy.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_proxy::testing::http_head(data));
