//! TLS records for a session that has not begun.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_core::testing::fuzz_tls::session(data));
