//! Programs whose wall clock differs from that of the machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The variables that make the wall clock of a program differ by this number of seconds. Its monotonic clock, by which
/// it measures times, is that of the machine.
pub fn shifted(seconds: i64) -> [(&'static str, String); 2] {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    let library = LIBRARY.get_or_init(compiled);
    [
        ("LD_PRELOAD", library.display().to_string()),
        ("OUTBOX_TEST_CLOCK", seconds.to_string()),
    ]
}

/// Compiles `clock.c` beside this test, with the C compiler that links Rust programs.
fn compiled() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clock.c");
    let test = std::env::current_exe().unwrap();
    let library = test.with_file_name("outbox_test_clock.so");
    // Another test may load it at this moment.
    let unfinished = test.with_file_name(format!("outbox_test_clock.{}", std::process::id()));
    let mut command = Command::new("cc");
    command
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
        .arg(&unfinished)
        .arg(source)
        .arg("-ldl");
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::rename(unfinished, &library).unwrap();
    library
}
