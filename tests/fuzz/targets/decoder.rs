//! `make fuzz TARGET=decoder`.
#![no_main]

#[path = "../decoder.rs"]
mod decoder;
#[path = "../pieces.rs"]
mod pieces;

libfuzzer_sys::fuzz_target!(|input: &[u8]| decoder::run(input));
