//! See the library's module of this name.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outrigger_fuzz::policy_text::check(bytes));
