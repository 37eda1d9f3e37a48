//! The duties of process 1 of a container: forward signals, and reap orphaned processes.
//!
//! The kernel makes process 1 the parent of all processes whose parents have ended, and they stay zombies
//! until it waits for them. A program that waits for its own children cannot wait for all others as well,
//! because it would consume the exit codes of its own. So process 1 runs the program in a child, and waits.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

/// As process 1, runs this program in a child and ends with its exit code. Returns in any other process,
/// and if no child can be started.
pub(super) fn run_as_process_1() {
    if std::process::id() == 1
        && let Ok(code) = run()
    {
        // The kernel then ends all other processes of the container.
        signal_hook::low_level::exit(code);
    }
}

fn run() -> io::Result<i32> {
    // Before there is a child to signal.
    let mut signals = Signals::new([SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2])?;
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Its own process group: Ctrl-C on a terminal reaches only us, and we forward it once.
    let child = command.args(arguments).process_group(0).spawn()?;
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let child = child.ok_or_else(|| io::Error::other("the child has no process id"))?;
    for signal in signals.forever() {
        if signal == SIGCHLD {
            if let Some(code) = reap(child) {
                return Ok(code);
            }
        } else if let Some(signal) = Signal::from_named_raw(signal) {
            let _ = kill_process(child, signal);
        }
    }
    Err(io::Error::other("no more signals"))
}

/// Waits for all processes that have ended; one SIGCHLD may stand for several. Returns the exit code of the
/// child if it is one of them.
fn reap(child: Pid) -> Option<i32> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            let signalled = || status.terminating_signal().map_or(1, |signal| 128 + signal);
            return Some(status.exit_status().unwrap_or_else(signalled));
        }
    }
    None
}
