//! `outbox doctor`: a healthy deployment, and one broken thing at a time.

mod broker;
#[allow(dead_code, unreachable_pub)] // its own suite uses all of it
#[path = "../../stomp_wire/certificates.rs"]
mod certificates;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod clock;
mod databases;
#[cfg(feature = "postgres")]
mod management;
mod management_api;
#[cfg(feature = "mysql")]
mod read_only;
#[cfg(feature = "postgres")]
mod rights;
mod settings;
mod tls;

use std::process::Command;

use serde_json::Value;

/// The result of `outbox doctor --json`.
#[derive(Debug)]
struct Report {
    code: i32,
    out: String,
    err: String,
    document: Value,
}

/// A run of `outbox doctor`, with further arguments and variables. An empty address of the database is not set.
struct Doctor<'a> {
    database: &'a str,
    broker: &'a str,
    arguments: Vec<&'a str>,
    variables: Vec<(&'a str, &'a str)>,
}

impl<'a> Doctor<'a> {
    fn of(database: &'a str, broker: &'a str) -> Self {
        Self {
            database,
            broker,
            arguments: Vec::new(),
            variables: Vec::new(),
        }
    }

    fn with(mut self, arguments: &[&'a str]) -> Self {
        self.arguments.extend(arguments);
        self
    }

    fn set(mut self, name: &'a str, value: &'a str) -> Self {
        self.variables.push((name, value));
        self
    }

    /// The code, standard output and standard error.
    fn output(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outbox"));
        if self.database.is_empty() {
            command.env_remove("DATABASE_URL");
        } else {
            command.env("DATABASE_URL", self.database);
        }
        let output = command
            .arg("doctor")
            .args(arguments)
            .args(&self.arguments)
            .env("STOMP_URL", self.broker)
            .envs(self.variables.iter().copied())
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    fn run(&self) -> Report {
        let (code, out, err) = self.output(&["--json"]);
        let document =
            serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
        Report {
            code,
            out,
            err,
            document,
        }
    }
}

impl Report {
    fn checks(&self) -> &[Value] {
        self.document["checks"].as_array().unwrap()
    }

    /// Fails unless there is such a check. `text` is a part of its text or of its advice.
    #[track_caller]
    fn has(&self, name: &str, verdict: &str, text: &str) -> &Self {
        let found = self.checks().iter().any(|check| {
            let contains = |part: &str| check[part].as_str().is_some_and(|it| it.contains(text));
            check["check"] == name
                && check["verdict"] == verdict
                && (contains("text") || contains("advice"))
        });
        assert!(
            found,
            "no {verdict} {name} with {text:?} in {}\n{}",
            self.out, self.err
        );
        self
    }

    /// The names of the checks with another verdict than ok.
    fn troubles(&self) -> Vec<&str> {
        let troubles = self
            .checks()
            .iter()
            .filter(|check| check["verdict"] != "ok");
        troubles
            .map(|check| check["check"].as_str().unwrap())
            .collect()
    }

    /// Fails unless these are all that is not ok, and the exit code says so.
    #[track_caller]
    fn only(&self, names: &[&str]) -> &Self {
        assert_eq!(self.troubles(), names, "{}\n{}", self.out, self.err);
        let has_error = self.document["errors"] != 0;
        assert_eq!(
            self.code,
            i32::from(has_error),
            "{}\n{}",
            self.out,
            self.err
        );
        self
    }
}
