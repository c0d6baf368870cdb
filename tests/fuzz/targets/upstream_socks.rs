//! What SOCKS proxies answer on the way to the server.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_core::testing::fuzz_upstream::socks(data));
