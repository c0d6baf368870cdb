//! Key-method-2 messages and the peer info in them.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_core::testing::fuzz_wire::key_method(data));
