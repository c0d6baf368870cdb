//! A SOCKS4 or 4a request.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_proxy::testing::socks4(data));
