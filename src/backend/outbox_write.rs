//! Marks a thread while it executes a statement that writes rows to the outbox, or lets rows be claimed.
//!
//! Diesel's instrumentation reports a statement as text, and formatting it costs more than many statements. This
//! mark tells an instrumentation the same for the price of one thread-local variable, also if another
//! instrumentation passes the event on.

use std::cell::Cell;

thread_local! {
    static IS_WRITING: Cell<bool> = const { Cell::new(false) };
}

/// Runs `statement`, which writes to the outbox or lets rows be claimed, with the mark set.
pub(crate) fn write<T>(statement: impl FnOnce() -> T) -> T {
    let _mark = Mark(IS_WRITING.replace(true));
    statement()
}

/// Whether the present statement of this thread writes to the outbox or lets rows be claimed.
#[cfg(feature = "relay")]
pub(crate) fn is_writing() -> bool {
    IS_WRITING.get()
}

/// Restores the mark, after a panic too.
struct Mark(bool);

impl Drop for Mark {
    fn drop(&mut self) {
        IS_WRITING.set(self.0);
    }
}
