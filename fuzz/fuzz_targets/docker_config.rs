#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| propeller_proxy::fuzz::docker_config(data));
