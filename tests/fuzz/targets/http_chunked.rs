//! A body in chunks.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_proxy::testing::http_chunked(data));
