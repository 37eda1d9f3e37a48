//! An instrumentation of a Diesel connection that wakes relays after commits.

use std::fmt;

use diesel::connection::{Instrumentation, InstrumentationEvent};

use crate::backend::outbox_write;
use crate::engine::wake::Waker;

/// Wakes relays after each commit of a transaction that wrote to the outbox, and passes each event on.
pub(super) struct CommitInstrumentation {
    wakers: Vec<Waker>,
    next: Option<Box<dyn Instrumentation>>,
    transaction: Transaction,
}

impl CommitInstrumentation {
    pub(super) fn new(waker: Waker, next: Option<Box<dyn Instrumentation>>) -> Self {
        Self {
            wakers: vec![waker],
            next,
            transaction: Transaction::default(),
        }
    }

    /// Adds a relay, unless it is woken already.
    pub(super) fn add(&mut self, waker: &Waker) {
        if !self.wakers.iter().any(|known| known.is_same(waker)) {
            self.wakers.push(waker.clone());
        }
    }

    /// Replaces the instrumentation that receives the events afterwards.
    pub(super) fn pass_on_to(&mut self, next: Box<dyn Instrumentation>) {
        self.next = Some(next);
    }
}

impl fmt::Debug for CommitInstrumentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitInstrumentation")
            .field("wakers", &self.wakers)
            .field("transaction", &self.transaction)
            .finish_non_exhaustive()
    }
}

impl Instrumentation for CommitInstrumentation {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        // First: the other instrumentation may panic.
        if self.transaction.observe(&event) {
            for waker in &self.wakers {
                waker.wake();
            }
        }
        if let Some(next) = &mut self.next {
            next.on_connection_event(event);
        }
    }
}

/// The open transaction of a connection, and whether it has written to the outbox.
///
/// Diesel reports the begin and the end of a transaction before their statements, and then the end of each
/// statement with its error. So a COMMIT has succeeded if its statement ends without an error.
#[derive(Debug, Default)]
struct Transaction {
    /// 0: none is open; 1: the transaction; above: its savepoints.
    depth: u32,
    /// The lowest depth at which rows were written that are not rolled back.
    written_at: Option<u32>,
    /// What the present statement does.
    statement: Option<Boundary>,
}

/// A statement that begins or ends a transaction or savepoint of this depth.
#[derive(Debug, Clone, Copy)]
enum Boundary {
    Begin(u32),
    Commit(u32),
    Rollback(u32),
}

impl Transaction {
    /// Returns whether rows of the outbox were committed.
    fn observe(&mut self, event: &InstrumentationEvent<'_>) -> bool {
        match event {
            InstrumentationEvent::BeginTransaction { depth, .. } => {
                self.statement = Some(Boundary::Begin(depth.get()));
            }
            InstrumentationEvent::CommitTransaction { depth, .. } => {
                self.statement = Some(Boundary::Commit(depth.get()));
            }
            InstrumentationEvent::RollbackTransaction { depth, .. } => {
                self.statement = Some(Boundary::Rollback(depth.get()));
            }
            InstrumentationEvent::FinishQuery { error, .. } => {
                return self.finish(error.is_none(), outbox_write::is_writing());
            }
            _ => {}
        }
        false
    }

    /// A statement has ended. Returns whether rows of the outbox were committed by it.
    fn finish(&mut self, has_succeeded: bool, is_write: bool) -> bool {
        match self.statement.take() {
            None if has_succeeded && is_write => {
                // Without a transaction the statement has committed by itself.
                let is_committed = self.depth == 0;
                if !is_committed {
                    let lowest = self.written_at.unwrap_or(self.depth);
                    self.written_at = Some(lowest.min(self.depth));
                }
                is_committed
            }
            None => false,
            Some(Boundary::Begin(depth)) => {
                if has_succeeded {
                    self.depth = depth;
                }
                false
            }
            Some(Boundary::Commit(1)) => {
                // After an error too: the server or Diesel rolls back. PostgreSQL does so without an event.
                self.depth = 0;
                self.written_at.take().is_some() && has_succeeded
            }
            Some(Boundary::Commit(depth)) => {
                if has_succeeded {
                    self.depth = depth - 1;
                    self.written_at = self.written_at.map(|at| at.min(depth - 1));
                }
                false
            }
            Some(Boundary::Rollback(depth)) => {
                self.depth = depth - 1;
                self.written_at = self.written_at.filter(|at| *at < depth);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statements of a connection, each with its success.
    enum Step {
        Write,
        Other,
        Boundary(Boundary),
        Refused(Boundary),
    }

    use Boundary::{Begin, Commit, Rollback};
    use Step::{Other, Refused, Write};

    fn commits(steps: &[Step]) -> usize {
        let mut transaction = Transaction::default();
        let mut finish = |step: &Step| {
            let (boundary, has_succeeded) = match step {
                Step::Boundary(boundary) => (Some(*boundary), true),
                Refused(boundary) => (Some(*boundary), false),
                Write | Other => (None, true),
            };
            transaction.statement = boundary;
            transaction.finish(has_succeeded, matches!(step, Write))
        };
        steps.iter().filter(|step| finish(step)).count()
    }

    #[test]
    fn only_commits_of_writes_count() {
        let at = Step::Boundary;
        let cases = [
            (vec![Write, Other, Write], 2),
            (vec![at(Begin(1)), Write, Write, at(Commit(1)), Other], 1),
            (vec![at(Begin(1)), Other, at(Commit(1))], 0),
            (vec![at(Begin(1)), Write, at(Rollback(1)), Other], 0),
            (vec![at(Begin(1)), Write, Refused(Commit(1)), Other], 0),
            (vec![Refused(Begin(1)), Write], 1),
            // After a refused COMMIT without the event of a rollback, the next write commits by itself.
            (vec![at(Begin(1)), Write, Refused(Commit(1)), Write], 1),
        ];
        for (n, (steps, expected)) in cases.iter().enumerate() {
            assert_eq!(commits(steps), *expected, "case {n}");
        }
    }

    #[test]
    fn a_savepoint_commits_nothing_and_takes_back_its_own_writes_only() {
        let at = Step::Boundary;
        let savepoint = |end: Boundary| vec![at(Begin(1)), at(Begin(2)), Write, at(end)];
        let mut released = savepoint(Commit(2));
        assert_eq!(commits(&released), 0);
        released.push(at(Commit(1)));
        assert_eq!(commits(&released), 1);

        let mut rolled_back = savepoint(Rollback(2));
        rolled_back.push(at(Commit(1)));
        assert_eq!(commits(&rolled_back), 0);
        rolled_back.insert(1, Write);
        assert_eq!(commits(&rolled_back), 1);

        // What a savepoint has taken over from an inner one is rolled back with it.
        let steps = [
            at(Begin(1)),
            at(Begin(2)),
            at(Begin(3)),
            Write,
            at(Commit(3)),
            at(Rollback(2)),
            at(Commit(1)),
        ];
        assert_eq!(commits(&steps), 0);
    }
}
