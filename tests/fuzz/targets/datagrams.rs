//! A row of datagrams, each behind a length byte, to a server that knows nobody.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| tunless_core::testing::fuzz_wire::datagrams(data));
