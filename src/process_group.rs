//! The process groups of the programs that run for messages: each ends when we do.

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
/// Pause between two looks at whether it has ended: the system does not tell.
const LOOK: Duration = Duration::from_millis(10);

/// All groups of this process, by the number of their first process.
static RUNNING: Mutex<Running> = Mutex::new(Running {
    groups: Vec::new(),
    is_closed: false,
});

struct Running {
    groups: Vec<Pid>,
    /// This process is about to end.
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
    /// Starts a program in a process group of its own; `None` if programs are to end.
    pub(crate) fn start(&self, command: &mut Command) -> io::Result<Option<Program>> {
        // Under the lock, so that nobody ends all groups between its start and its entry.
        let mut running = running();
        if running.is_closed || *self.ending.borrow() {
            return Ok(None);
        }
        let child = command.process_group(0).spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok());
        let Some(leader) = leader.and_then(Pid::from_raw) else {
            return Err(io::Error::other("the program has no process id"));
        };
        running.groups.push(leader);
        Ok(Some(Program {
            group: Group(leader),
            child,
        }))
    }

    /// Ends all that run, and starts no more.
    pub(crate) fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Waits until programs are to end.
    pub(crate) async fn ending(&self) {
        // We hold a sender ourselves, so that it does not end otherwise.
        let _ = self.ending.subscribe().wait_for(|ending| *ending).await;
    }

    /// Whether programs are to end.
    pub(crate) fn is_ending(&self) -> bool {
        *self.ending.borrow() || running().is_closed
    }
}

/// A program that runs. Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Program {
    // Before the process, whose number is its own as long as nobody has waited for it.
    group: Group,
    pub(crate) child: Child,
}

impl Program {
    /// It has ended by itself, and was waited for. What it left behind goes on.
    pub(crate) fn has_ended(self) {
        self.group.forget();
    }

    /// Ends it and all that it has started: by SIGTERM, and by SIGKILL what is left after a while.
    pub(crate) async fn end(mut self) {
        let leader = self.group.0;
        signal(leader, Signal::TERM);
        let gone = async {
            let _ = self.child.wait().await;
            while test_kill_process_group(leader).is_ok() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(GRACE, gone).await.is_err() {
            signal(leader, Signal::KILL);
            let _ = self.child.wait().await;
        }
        self.group.forget();
    }
}

/// Takes a group off the list; false if it was not on it.
fn forget(group: Pid) -> bool {
    let mut running = running();
    let before = running.groups.len();
    running.groups.retain(|other| *other != group);
    running.groups.len() < before
}

/// A group, until it is known to have ended.
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
        // Nobody is left who could wait for it, perhaps not even a runtime.
        signal(self.0, Signal::TERM);
        let leader = self.0;
        let end = move || kill_after_grace(vec![leader]);
        if std::thread::Builder::new()
            .name("outbox-program-end".to_owned())
            .spawn(end)
            .is_err()
        {
            signal(leader, Signal::KILL);
        }
    }
}

/// Ends all programs of this process, for when it ends itself: no more are started. Takes [`GRACE`]
/// at most, and no time if none runs.
pub(crate) fn end_all() {
    let Some(groups) = close() else { return };
    for group in &groups {
        signal(*group, Signal::TERM);
    }
    kill_after_grace(groups);
}

/// The groups that run, after the last one was started. `None` if somebody holds the lock for too long,
/// such as a start from a file system that does not answer.
fn close() -> Option<Vec<Pid>> {
    let deadline = Instant::now() + GRACE;
    loop {
        let mut running = match RUNNING.try_lock() {
            Ok(running) => running,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(LOOK);
                continue;
            }
            Err(TryLockError::WouldBlock) => return None,
        };
        running.is_closed = true;
        return Some(running.groups.clone());
    }
}

/// Waits until the groups have ended, and kills what is left after [`GRACE`].
fn kill_after_grace(mut groups: Vec<Pid>) {
    let deadline = Instant::now() + GRACE;
    loop {
        groups.retain(|group| {
            // As long as nobody has waited for it, its first process counts as one that is there.
            let _ = waitpid(Some(*group), WaitOptions::NOHANG);
            test_kill_process_group(*group).is_ok()
        });
        if groups.is_empty() {
            return;
        }
        if Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(LOOK);
    }
    for group in groups {
        signal(group, Signal::KILL);
    }
}

fn signal(group: Pid, signal: Signal) {
    // One that has ended is what we want.
    let _ = kill_process_group(group, signal);
}
