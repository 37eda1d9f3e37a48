//! `make fuzz TARGET=client`.
#![no_main]

#[path = "../client.rs"]
mod client;

libfuzzer_sys::fuzz_target!(|input: &[u8]| client::run(input));
