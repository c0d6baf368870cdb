//! Inner packets to the server's exit.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_netstack::testing::exit_input(data));
