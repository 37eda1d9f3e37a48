//! The process groups of the programs that run for messages. They end with this process.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpid,
};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// How long a group may take to end after SIGTERM, before SIGKILL.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
/// Interval at which a group is checked for its end; the system does not report it.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// All groups of this process, by the number of their first process.
static RUNNING: Mutex<Running> = Mutex::new(Running {
    groups: Vec::new(),
    is_closed: false,
});

struct Running {
    groups: Vec<Pid>,
    /// Whether this process is about to end.
    is_closed: bool,
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The programs of one subscriber. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Programs {
    ending: watch::Sender<bool>,
}

impl Programs {
    /// Starts a program in a new process group. `None` if programs are being ended.
    pub(crate) fn start(&self, command: &mut Command) -> io::Result<Option<Program>> {
        // Under the lock, so that no group is started and not listed when all groups are ended.
        let mut running = running();
        if running.is_closed || *self.ending.borrow() {
            return Ok(None);
        }
        let child = command.process_group(0).spawn()?;
        let group_id = child.id().and_then(|id| i32::try_from(id).ok());
        let Some(group_id) = group_id.and_then(Pid::from_raw) else {
            return Err(io::Error::other("the program has no process id"));
        };
        running.groups.push(group_id);
        Ok(Some(Program {
            group: Group(group_id),
            child,
        }))
    }

    /// Ends all programs and starts no more.
    pub(crate) fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Waits until the programs are being ended.
    pub(crate) async fn ending(&self) {
        // This handle has a sender, so the wait ends only by a request.
        let _ = self.ending.subscribe().wait_for(|ending| *ending).await;
    }

    /// Whether the programs are being ended.
    pub(crate) fn is_ending(&self) -> bool {
        *self.ending.borrow() || running().is_closed
    }
}

/// A running program. It is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    // Dropped before the child, whose process id is not reused until it was waited for.
    group: Group,
    pub(crate) child: Child,
}

impl Program {
    /// The program has ended by itself and was waited for. Processes that it left behind continue.
    pub(crate) fn has_ended(self) {
        self.group.forget();
    }

    /// Ends the program and all that it has started: with SIGTERM, and after [`GRACE`] with SIGKILL.
    pub(crate) async fn end(mut self) {
        let group_id = self.group.0;
        signal(group_id, Signal::TERM);
        let gone = async {
            let _ = self.child.wait().await;
            while test_kill_process_group(group_id).is_ok() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        if tokio::time::timeout(GRACE, gone).await.is_err() {
            signal(group_id, Signal::KILL);
            let _ = self.child.wait().await;
        }
        self.group.forget();
    }
}

/// Removes a group from the list. Returns false if it was not there.
fn forget(group: Pid) -> bool {
    let mut running = running();
    let before = running.groups.len();
    running.groups.retain(|other| *other != group);
    running.groups.len() < before
}

/// A group that is ended when this is dropped, unless it is known to have ended.
#[derive(Debug)]
struct Group(Pid);

impl Group {
    fn forget(&self) {
        forget(self.0);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !forget(self.0) {
            return;
        }
        // Nothing else waits for it, and there may be no runtime.
        signal(self.0, Signal::TERM);
        let group_id = self.0;
        let end = move || kill_after_grace(vec![group_id]);
        if std::thread::Builder::new()
            .name("outbox-program-end".to_owned())
            .spawn(end)
            .is_err()
        {
            signal(group_id, Signal::KILL);
        }
    }
}

/// Ends all programs of this process before the process ends, and starts no more. It takes at most [`GRACE`],
/// and no time if none runs.
pub(crate) fn end_all() {
    let Some(groups) = close() else { return };
    for group in &groups {
        signal(*group, Signal::TERM);
    }
    kill_after_grace(groups);
}

/// Stops the starting of programs and returns the groups that run. `None` if the lock is held for longer than
/// [`GRACE`], for example by a start from a file system that does not respond.
fn close() -> Option<Vec<Pid>> {
    let deadline = Instant::now() + GRACE;
    loop {
        let mut running = match RUNNING.try_lock() {
            Ok(running) => running,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(POLL_INTERVAL);
                continue;
            }
            Err(TryLockError::WouldBlock) => return None,
        };
        running.is_closed = true;
        return Some(running.groups.clone());
    }
}

/// Waits until the groups have ended, and kills those that are left after [`GRACE`].
fn kill_after_grace(mut groups: Vec<Pid>) {
    let deadline = Instant::now() + GRACE;
    loop {
        groups.retain(|group| {
            // The first process counts as running until it was waited for.
            let _ = waitpid(Some(*group), WaitOptions::NOHANG);
            test_kill_process_group(*group).is_ok()
        });
        if groups.is_empty() {
            return;
        }
        if Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    for group in groups {
        signal(group, Signal::KILL);
    }
}

fn signal(group: Pid, signal: Signal) {
    // An error means that the group has ended.
    let _ = kill_process_group(group, signal);
}
