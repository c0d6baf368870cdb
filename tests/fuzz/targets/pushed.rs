//! Options that a server pushed.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_core::testing::fuzz_config::pushed(data));
