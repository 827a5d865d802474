//! `damaged_journal` under libFuzzer; what it promises stands where the function is.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| windlass_fuzz::node_targets::damaged_journal(data));
