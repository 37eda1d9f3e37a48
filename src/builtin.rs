//! The callbacks that every `subscribe` has: `log`, `store`, `exec:<program>`.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::backend::Backend;
use crate::payload::Payload;
use crate::process_group::Programs;
use crate::registry::{BoxError, Outcome};

/// What the name of a program begins with.
pub(crate) const EXEC: &str = "exec:";
/// The exit code by which a program discards a message: EX_DATAERR of sysexits(3).
const DISCARD: i32 = 65;
/// Bytes of a program's output in one line of the log at most.
const LONGEST_LINE: u64 = 8 * 1024;

/// Writes a log line for each message; the body at the level `debug`.
pub(crate) fn log<C: Backend>(_: &mut C, payload: &Payload) -> Result<Outcome, BoxError> {
    tracing::info!(
        id = payload.msg_id(),
        destination = payload.destination(),
        bytes = payload.raw().len(),
        "a message"
    );
    tracing::debug!(id = payload.msg_id(), body = %payload.body(), "its body");
    Ok(Outcome::Done)
}

/// Does nothing more: the inbox keeps the message.
pub(crate) fn store<C: Backend>(_: &mut C, _: &Payload) -> Result<Outcome, BoxError> {
    Ok(Outcome::Done)
}

/// Why a program cannot serve as a callback.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// No program is named.
    #[error("name a program, such as exec:/usr/local/bin/handle-order")]
    Empty,
    /// No such file, neither as a path nor in `PATH`.
    #[error("there is no program `{0}`")]
    Missing(String),
    /// The file may not be executed.
    #[error("`{0}` is not an executable file")]
    NotExecutable(PathBuf),
}

/// Why a run of a program failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It could not be started, or not be waited for.
    #[error("the program could not be run: {0}")]
    Io(#[from] std::io::Error),
    /// It ended with a code that says neither done nor discard.
    #[error("the program ended with {0}")]
    Ended(ExitStatus),
    /// It took longer than `exec_timeout` and was ended.
    #[error("the program was ended after {0:?}")]
    TimedOut(Duration),
    /// It was ended, or not started, because we stop. The message is not to blame.
    #[error("the program was ended because the subscriber stops")]
    Stopped,
}

/// A program that is run for each message: the body on its standard input, the headers as
/// `OUTBOX_HEADER_<NAME>`, no shell.
#[derive(Debug)]
pub(crate) struct Exec {
    program: PathBuf,
    limit: Option<Duration>,
    programs: Programs,
}

impl Exec {
    pub(crate) fn new(program: &str, limit: Option<Duration>) -> Result<Self, ExecError> {
        if program.is_empty() {
            return Err(ExecError::Empty);
        }
        let program = if program.contains('/') {
            PathBuf::from(program)
        } else {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path)
                .map(|folder| folder.join(program))
                .find(|file| is_executable(file))
                .ok_or_else(|| ExecError::Missing(program.to_owned()))?
        };
        if !program.is_file() {
            return Err(ExecError::Missing(program.display().to_string()));
        }
        if !is_executable(&program) {
            return Err(ExecError::NotExecutable(program));
        }
        Ok(Self {
            program,
            limit,
            programs: Programs::default(),
        })
    }

    /// What it has started, for whoever ends it.
    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    pub(crate) async fn run(&self, payload: &Payload) -> Result<Outcome, BoxError> {
        let mut command = Command::new(&self.program);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, value) in payload.headers() {
            // What no variable can carry; the other headers are there all the same.
            if !value.contains('\0') {
                command.env(variable(name), value);
            }
        }
        let started = self.programs.start(&mut command).map_err(RunError::Io)?;
        let mut program = started.ok_or(RunError::Stopped)?;
        let status = tokio::select! {
            status = finish(&mut program.child, payload) => status.map_err(RunError::Io)?,
            limit = passed(self.limit) => {
                program.end().await;
                return Err(RunError::TimedOut(limit).into());
            }
            () = self.programs.ending() => {
                program.end().await;
                return Err(RunError::Stopped.into());
            }
        };
        program.has_ended();
        match status.code() {
            Some(0) => Ok(Outcome::Done),
            Some(DISCARD) => Ok(Outcome::Discard(format!(
                "the program ended with {DISCARD}"
            ))),
            // By our own signal.
            None if self.programs.is_ending() => Err(RunError::Stopped.into()),
            _ => Err(RunError::Ended(status).into()),
        }
    }
}

/// Writes the body, hands the output on to the log, and waits for the end. A program that does not
/// read its input is no failure.
async fn finish(child: &mut Child, payload: &Payload) -> std::io::Result<ExitStatus> {
    let input = child.stdin.take();
    let id = payload.msg_id();
    // Tasks of their own: what a program leaves behind may keep its output open after its end.
    if let Some(output) = child.stdout.take() {
        tokio::spawn(hand_on(output, id.to_owned(), "stdout"));
    }
    if let Some(output) = child.stderr.take() {
        tokio::spawn(hand_on(output, id.to_owned(), "stderr"));
    }
    let write = async {
        if let Some(mut input) = input {
            let _ = input.write_all(payload.raw()).await;
            let _ = input.shutdown().await;
        }
    };
    tokio::pin!(write);
    tokio::select! {
        // What it leaves behind may keep its input open as well, and read nothing.
        status = child.wait() => return status,
        () = &mut write => {}
    }
    child.wait().await
}

/// Logs a program's output, line by line.
async fn hand_on(output: impl AsyncRead + Unpin, id: String, from: &'static str) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut output).take(LONGEST_LINE);
        match limited.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let line = String::from_utf8_lossy(&line);
                tracing::info!(id, from, "{}", line.trim_end());
            }
        }
    }
}

/// Waits for the limit's end, and returns it; never if there is none.
async fn passed(limit: Option<Duration>) -> Duration {
    match limit {
        None => std::future::pending().await,
        Some(limit) => {
            tokio::time::sleep(limit).await;
            limit
        }
    }
}

/// `dop-msg-id` is `OUTBOX_HEADER_DOP_MSG_ID`.
fn variable(header: &str) -> String {
    let name: String = header
        .chars()
        .map(|character| match character {
            'a'..='z' => character.to_ascii_uppercase(),
            'A'..='Z' | '0'..='9' => character,
            _ => '_',
        })
        .collect();
    format!("OUTBOX_HEADER_{name}")
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_become_variables() {
        assert_eq!(variable("dop-msg-id"), "OUTBOX_HEADER_DOP_MSG_ID");
        assert_eq!(variable("x=y;$(z)"), "OUTBOX_HEADER_X_Y___Z_");
    }

    #[test]
    fn a_program_that_cannot_run_is_told_at_the_start() {
        assert!(matches!(Exec::new("", None), Err(ExecError::Empty)));
        assert!(matches!(
            Exec::new("/no/such/file", None),
            Err(ExecError::Missing(_))
        ));
        assert!(matches!(
            Exec::new("Cargo.toml", None),
            Err(ExecError::Missing(_))
        ));
        assert!(matches!(
            Exec::new("./Cargo.toml", None),
            Err(ExecError::NotExecutable(_))
        ));
        assert!(Exec::new("sh", None).is_ok());
    }
}
