//! A name server's answer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_netstack::testing::dns_query(data));
