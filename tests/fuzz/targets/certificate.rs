//! A peer's certificate, and our own files in PEM.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_core::testing::fuzz_tls::certificate(data));
