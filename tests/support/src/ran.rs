//! A run of a program that ended.

use std::process::{Command, Output};

/// The result of a run.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Runs a program until it ends.
    pub fn new(command: &mut Command) -> Self {
        command.output().unwrap().into()
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        assert!(self.out.contains(text), "no {text:?} in {self:#?}");
        self
    }

    #[track_caller]
    pub fn fails(self, code: i32, text: &str) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(self.err.contains(text), "no {text:?} in {self:#?}");
        assert!(!self.err.contains("panicked"), "{self:#?}");
        self
    }

    /// All that was printed.
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
