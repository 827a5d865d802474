//! `chunk` under libFuzzer; what it promises stands where the function is.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windlass_fuzz::targets::records::chunk(data));
