//! Control packets, bare and wrapped.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_core::testing::fuzz_wire::control(data));
