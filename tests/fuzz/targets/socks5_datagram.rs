//! A datagram of a SOCKS5 client.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_proxy::testing::socks5_datagram(data));
