//! A run of `outbox web`.

use std::process::{Command, Stdio};

use crate::client::Client;
use crate::support::TestDatabase;
use crate::support::program::Program;

pub(crate) const OUTBOX: &str = env!("CARGO_BIN_EXE_outbox");
/// The tokens of two users.
pub(crate) const ANN: &str = "token-of-ann-0123456789";
pub(crate) const BEN: &str = "token-of-ben-0123456789";

/// The program `outbox web` on a database.
pub(crate) fn web(database: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(OUTBOX);
    command
        .arg("web")
        .args(["--listen", "127.0.0.1:0"])
        .args(arguments)
        .env("DATABASE_URL", database)
        .stdin(Stdio::null());
    command
}

/// The same, for the users `ann` and `ben`.
pub(crate) fn web_with_tokens(database: &str, arguments: &[&str]) -> Command {
    let mut command = web(database, arguments);
    command.env("OUTBOX_WEB_TOKENS", format!("ann:{ANN},ben:{BEN}"));
    command
}

/// Pages that are served.
pub(crate) struct Served {
    pub(crate) program: Program,
    /// Is not logged in.
    pub(crate) stranger: Client,
    /// Is the user `ann`.
    pub(crate) ann: Client,
}

impl Served {
    /// Serves pages to `ann` and `ben`.
    pub(crate) fn start(database: &TestDatabase, arguments: &[&str]) -> Self {
        Self::spawn(&mut web_with_tokens(&database.url, arguments))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self::of(Program::spawn(command))
    }

    /// A program that serves pages.
    pub(crate) fn of(mut program: Program) -> Self {
        let line = program.wait_for_line("serving the pages");
        let field = |name: &str| {
            let (_, value) = line.split_once(name).unwrap();
            value.split(' ').next().unwrap().trim_matches('"')
        };
        let stranger = Client::new(&format!("http://{}{}/", field("address="), field("path=")));
        Self {
            program,
            ann: stranger.with_token(ANN),
            stranger,
        }
    }

    pub(crate) fn ben(&self) -> Client {
        self.stranger.with_token(BEN)
    }

    /// Stops the program. Returns the lines of its log.
    pub(crate) fn stop(self) -> Vec<String> {
        self.program.signal("TERM");
        self.ended(0)
    }

    /// Waits for the end with this exit code. Returns the lines of the log.
    pub(crate) fn ended(mut self, code: i32) -> Vec<String> {
        let status = self.program.ended();
        assert_eq!(status.code(), Some(code), "{:#?}", self.program.lines());
        self.program.lines().to_vec()
    }
}
