//! A run of the program, and its result.

use std::process::Command;

use crate::support::TestDatabase;

/// The result of a run of the program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        assert!(self.out.contains(text), "no {text:?} in {self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn fails(self, code: i32, text: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(text), "no {text:?} in {self:#?}");
    }
}

pub(crate) fn outbox(database: &TestDatabase, arguments: &[&str]) -> Ran {
    outbox_at(&database.url, arguments)
}

pub(crate) fn outbox_at(url: &str, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_outbox"))
        .args(arguments)
        .env("DATABASE_URL", url)
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
