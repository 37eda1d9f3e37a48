//! The callbacks that every `subscribe` has: `log`, `store`, `exec:<program>`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use super::header_variables::HeaderVariables;
use crate::backend::Backend;
use crate::callback::Outcome;
use crate::callback::Payload;
use crate::error::BoxError;
use crate::runtime::process_group::{Program, Programs};
use crate::runtime::time_limit;

/// The prefix of a callback's name that is followed by a program.
pub(crate) const EXEC: &str = "exec:";
/// The exit code by which a program discards a message: EX_DATAERR of sysexits(3).
const DISCARD: i32 = 65;
/// Maximum number of bytes of a program's output in one line of the log.
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

/// Does nothing: the inbox row keeps the message.
pub(crate) fn store<C: Backend>(_: &mut C, _: &Payload) -> Result<Outcome, BoxError> {
    Ok(Outcome::Done)
}

/// Why a program cannot be a callback.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The name of the program is empty.
    #[error("name a program, such as exec:/usr/local/bin/handle-order")]
    Empty,
    /// There is no such file, as a path or in `PATH`.
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
    /// The program could not be started or waited for.
    #[error("the program could not be run: {0}")]
    Io(#[from] std::io::Error),
    /// It ended with another code than 0 (done) and 65 (discard).
    #[error("the program ended with {0}")]
    Ended(ExitStatus),
    /// It took longer than `exec_timeout` and was ended.
    #[error("the program was ended after {0:?}")]
    TimedOut(Duration),
    /// It was ended, or not started, because the subscriber stops. Not the message's fault.
    #[error("the program was ended because the subscriber stops")]
    Stopped,
}

impl RunError {
    /// Whether the system lacks resources for another process or file at the moment, which is not the
    /// message's fault: execve(2), fork(2), pipe(2).
    pub(crate) fn is_shortage(&self) -> bool {
        use rustix::io::Errno;
        let Self::Io(error) = self else { return false };
        let shortages = [
            Errno::AGAIN,
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            // The program's file is being written.
            Errno::TXTBSY,
        ];
        Errno::from_io_error(error).is_some_and(|errno| shortages.contains(&errno))
    }
}

/// A program that is run for each message: the body on its standard input, the headers as
/// [`HeaderVariables`], no shell.
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

    /// The programs that it has started.
    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Starts the program. The system limits the sum of arguments and environment (ARG_MAX); variables that
    /// do not fit are left out.
    fn start(&self, payload: &Payload) -> std::io::Result<Option<Program>> {
        let mut variables = HeaderVariables::of(payload.headers());
        loop {
            let mut command = Command::new(&self.program);
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            variables.give_to(&mut command);
            match self.programs.start(&mut command) {
                Err(error)
                    if error.kind() == ErrorKind::ArgumentListTooLong && variables.shorten() => {}
                other => return other,
            }
        }
    }

    pub(crate) async fn run(&self, payload: &Payload) -> Result<Outcome, BoxError> {
        let started = self.start(payload).map_err(RunError::Io)?;
        let mut program = started.ok_or(RunError::Stopped)?;
        let status = tokio::select! {
            // What has ended in time counts, also if this process stood still meanwhile.
            biased;
            status = finish(&mut program.child, payload) => match status {
                Ok(status) => status,
                // At the end of this process another thread has waited for the program.
                Err(_) if self.programs.is_ending() => {
                    program.has_ended();
                    return Err(RunError::Stopped.into());
                }
                Err(error) => return Err(RunError::Io(error).into()),
            },
            limit = time_limit::passed(self.limit) => {
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
            // Ended by our own signal, with a code of its own if it handles SIGTERM.
            _ if self.programs.is_ending() => Err(RunError::Stopped.into()),
            _ => Err(RunError::Ended(status).into()),
        }
    }
}

/// Writes the body, logs the output, and waits for the end. It is no failure if a program does not read its
/// input.
async fn finish(child: &mut Child, payload: &Payload) -> std::io::Result<ExitStatus> {
    let input = child.stdin.take();
    let id = payload.msg_id();
    // Tasks of their own: child processes may keep the output open after the program's end.
    if let Some(output) = child.stdout.take() {
        tokio::spawn(log_output(output, id.to_owned(), "stdout"));
    }
    if let Some(output) = child.stderr.take() {
        tokio::spawn(log_output(output, id.to_owned(), "stderr"));
    }
    let write = async {
        if let Some(mut input) = input {
            let _ = input.write_all(payload.raw()).await;
            let _ = input.shutdown().await;
        }
    };
    tokio::pin!(write);
    tokio::select! {
        // Child processes may keep the input open as well, and not read it.
        status = child.wait() => return status,
        () = &mut write => {}
    }
    child.wait().await
}

/// Logs a program's output, line by line.
async fn log_output(output: impl AsyncRead + Unpin, id: String, from: &'static str) {
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

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_cannot_run_is_reported_at_the_start() {
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
