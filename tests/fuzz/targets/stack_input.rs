//! Inner packets to the client's stack.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_netstack::testing::stack_input(data));
