//! A run of a program.

use std::path::Path;
use std::process::Command;

pub(crate) const PUBLISH: &str = env!("CARGO_BIN_EXE_publish");
pub(crate) const SUBSCRIBE: &str = env!("CARGO_BIN_EXE_subscribe");
pub(crate) const OUTBOX: &str = env!("CARGO_BIN_EXE_outbox");

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        assert!(self.out.contains(text), "no {text:?} in {self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn fails(self, code: i32, text: &str) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(self.err.contains(text), "no {text:?} in {self:#?}");
        assert!(!self.err.contains("panicked"), "{self:#?}");
        self
    }

    /// All that was printed.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// A program without settings from the environment of the tests.
pub(crate) fn program(path: &str, arguments: &[&str], database: &str) -> Command {
    let mut command = Command::new(path);
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("OUTBOX_") || name.starts_with("STOMP_") || name.starts_with("PG") {
            command.env_remove(&*name);
        }
    }
    command.env("DATABASE_URL", database);
    command
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The names of the files in a folder.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.collect()
}
