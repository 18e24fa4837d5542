#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| propeller_proxy::fuzz::reference(data));
