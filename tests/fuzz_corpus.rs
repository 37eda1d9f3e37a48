//! The inputs that fuzzing has found, once more, by the same code as in `make fuzz`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "fuzz/client.rs"]
mod client;
#[path = "fuzz/decoder.rs"]
mod decoder;
#[path = "fuzz/pieces.rs"]
mod pieces;

use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        let result = std::panic::catch_unwind(|| run(&input));
        assert!(result.is_ok(), "{}", path.display());
        count += 1;
    }
    assert!(count > 0, "the corpus is empty");
}

#[test]
fn decoder() {
    replay("decoder", decoder::run);
}

#[test]
fn client() {
    replay("client", client::run);
}
