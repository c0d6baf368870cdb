//! Data packets, and inner packets on their way through.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_core::testing::fuzz_wire::data(data));
