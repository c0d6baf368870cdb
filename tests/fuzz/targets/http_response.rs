//! The head of a response to a plain HTTP request.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_proxy::testing::http_response(data));
