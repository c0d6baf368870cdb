//! A SOCKS5 greeting and request.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_proxy::testing::socks5(data));
