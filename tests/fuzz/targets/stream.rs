//! The framing of TCP.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_core::testing::fuzz_wire::stream(data));
