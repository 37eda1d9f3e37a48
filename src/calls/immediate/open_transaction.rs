//! The transaction on a connection of this thread whose calls are executed after its commit, and what is written in
//! it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use uuid::Uuid;

use crate::backend::{Backend, NewCallRow, after};
use crate::calls::new_call::Ready;
use crate::error::Error;
use crate::runtime::lease_clock;

/// Calls of one transaction that are executed after its commit. Later ones wait for an executor.
const MOST: usize = 1_000;

/// On which terms calls are written.
pub(super) struct Terms {
    /// The token of their lease.
    pub(super) token: Uuid,
    /// The length of their lease.
    pub(super) lease: Duration,
    /// Whether calls of a name are executed after the commit.
    pub(super) executes: Rc<dyn Fn(&str) -> bool>,
}

/// A call that was written in the transaction.
pub(super) enum Written {
    /// It has a row, under the lease.
    Row(Uuid),
    /// It has no row unless it fails.
    Unwritten(Ready),
}

/// The end of the lease.
#[derive(Clone, Copy)]
struct End {
    /// By [`lease_clock`]: never later than in the database.
    here: Instant,
    in_database: DateTime<Utc>,
}

struct Open {
    /// Where the connection is: it cannot move while it is borrowed for the transaction.
    address: usize,
    terms: Terms,
    end: Option<End>,
    written: Vec<Written>,
    leaves_calls: bool,
}

/// What was written in a transaction, in its order.
pub(super) struct Opened {
    pub(super) written: Vec<Written>,
    /// The end of the lease by [`lease_clock`]; `None`: there is no row under it.
    pub(super) lease_ends: Option<Instant>,
    /// Whether there are other calls, for an executor.
    pub(super) leaves_calls: bool,
}

thread_local! {
    static OPEN: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
}

/// Closes what was opened after the first `open`, after a panic too.
struct Close(usize);

impl Drop for Close {
    fn drop(&mut self) {
        OPEN.with_borrow_mut(|all| all.truncate(self.0));
    }
}

fn address<C>(conn: &C) -> usize {
    std::ptr::from_ref(conn).addr()
}

/// Looks at the open transaction on a connection, if there is one.
fn with<C, T>(conn: &C, look: impl FnOnce(&mut Open) -> T) -> Option<T> {
    let address = address(conn);
    OPEN.with_borrow_mut(|all| {
        let open = all.iter_mut().rev().find(|open| open.address == address);
        open.map(look)
    })
}

/// Whether calls that are written on this connection are executed after the commit.
pub(super) fn is_open<C: Backend>(conn: &C) -> bool {
    with(conn, |_| ()).is_some()
}

/// Whether a call without a row was written in the open transaction on this connection.
pub(super) fn has_unwritten<C: Backend>(conn: &C) -> bool {
    let is_unwritten = |it: &Written| matches!(it, Written::Unwritten(_));
    with(conn, |open| open.written.iter().any(is_unwritten)).unwrap_or(false)
}

/// Runs `work`; calls that it writes on this connection are written on these terms.
pub(super) fn open<C: Backend, T>(
    conn: &mut C,
    terms: Terms,
    work: impl FnOnce(&mut C) -> T,
) -> (T, Opened) {
    let open = Open {
        address: address(conn),
        terms,
        end: None,
        written: Vec::new(),
        leaves_calls: false,
    };
    let close = OPEN.with_borrow_mut(|all| {
        all.push(open);
        Close(all.len() - 1)
    });
    let result = work(conn);
    let opened = OPEN.with_borrow_mut(|all| {
        let open = all.drain(close.0..).next();
        Opened {
            lease_ends: open.as_ref().and_then(|open| Some(open.end?.here)),
            leaves_calls: open.as_ref().is_some_and(|open| open.leaves_calls),
            written: open.map(|open| open.written).unwrap_or_default(),
        }
    });
    (result, opened)
}

/// Puts new rows under the lease of the open transaction on this connection, if there is one. A row that is not due
/// at once stays as it is, and so does one of a function that is not executed here.
pub(in crate::calls) fn lease<C: Backend>(
    conn: &mut C,
    rows: &mut [NewCallRow],
) -> Result<(), Error> {
    let look = |open: &mut Open| {
        let terms = &open.terms;
        let room = MOST.saturating_sub(open.written.len());
        (
            terms.token,
            terms.lease,
            Rc::clone(&terms.executes),
            open.end,
            room,
        )
    };
    let Some((token, length, executes, mut end, room)) = with(conn, look) else {
        return Ok(());
    };
    let mut leased = Vec::new();
    for row in rows.iter_mut() {
        if leased.len() >= room || !row.is_due_at_once() || !executes(row.name()) {
            continue;
        }
        let end = match end {
            Some(end) => end,
            None => {
                // Read before the database's clock, so that the lease ends here no later than there.
                let here = lease_clock::now() + length;
                let in_database = after(conn.now()?, length);
                *end.insert(End { here, in_database })
            }
        };
        row.lease(token, end.in_database);
        leased.push(Written::Row(row.id()));
    }
    with(conn, |open| {
        open.end = end;
        open.leaves_calls |= leased.len() < rows.len();
        open.written.extend(leased);
    });
    Ok(())
}

/// Keeps calls without rows that are executed after the commit of the open transaction on this connection, and get
/// a row only if they fail. Returns the others.
pub(in crate::calls) fn keep_unwritten<C: Backend>(conn: &mut C, calls: Vec<Ready>) -> Vec<Ready> {
    if !calls.iter().any(Ready::may_be_unwritten) {
        return calls;
    }
    // A savepoint may be rolled back, and without a row nothing would show it.
    let is_outermost = matches!(conn.open_transactions(), Ok(1));
    let refuses_nul = conn.refuses_nul();
    let look = |open: &mut Open| (Rc::clone(&open.terms.executes), open.written.len());
    let Some((executes, before)) = with(conn, look).filter(|_| is_outermost) else {
        return calls;
    };
    let (mut kept, mut others) = (Vec::new(), Vec::new());
    for call in calls {
        let is_kept = before + kept.len() < MOST
            && call.may_be_unwritten()
            && executes(call.name)
            && !(refuses_nul && call.holds_nul());
        if is_kept {
            kept.push(Written::Unwritten(call));
        } else {
            others.push(call);
        }
    }
    with(conn, |open| open.written.extend(kept));
    others
}
