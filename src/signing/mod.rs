//! Signed rows: a row that was changed, or written without the key, is noticed before it is sent.
//!
//! The writer signs each row with HMAC-SHA256, and the relay verifies it: `docs/signing.md`. The
//! innermost scope on this thread decides about the keys, then [`set_keys`]. The programs, and everything
//! that a [`Relay`](crate::relay::Relay) or a [`Subscriber`](crate::subscriber::Subscriber) runs, use the
//! settings `sign` and `signing_keys`.

mod canonical;
mod keys;
mod signature;

use std::cell::RefCell;
use std::sync::{PoisonError, RwLock};

pub use keys::{Keys, KeysError};
pub(crate) use signature::Fields;

thread_local! {
    static OF_THREAD: RefCell<Option<Keys>> = const { RefCell::new(None) };
}

static OF_PROCESS: RwLock<Option<Keys>> = RwLock::new(None);

/// Sets the keys with which this process signs the rows that it writes to the outbox; `None`: it writes
/// unsigned rows, which is the default.
///
/// Everything that writes to the outbox then signs: `save`, `publish`, `publish_all`, the derived code and
/// messages without a model. Call it once at the start, before anything is written.
///
/// ```standalone_crate
/// use diesel_outbox::signing::{self, Keys};
///
/// # fn read_secret() -> String { "2026-11:5d41402abc4b2a76b9719d911017c592".to_owned() }
/// # #[cfg(feature = "sqlite")] {
/// # use diesel::prelude::*;
/// # use diesel_outbox::{Message, admin, migrations::Migrate};
/// # let conn = &mut SqliteConnection::establish(":memory:")?;
/// # conn.migrate()?;
/// signing::set_keys(Some(Keys::parse(&read_secret())?));
///
/// let id = Message::new("/queue/mail", "hello").publish(conn)?;
/// let row = admin::show(conn, id)?.ok_or("no such row")?;
/// assert!(row.signature.is_some_and(|text| text.starts_with("v1:2026-11::")));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn set_keys(keys: Option<Keys>) {
    *OF_PROCESS.write().unwrap_or_else(PoisonError::into_inner) = keys;
}

/// Runs `work` so that the rows that this thread writes are signed with these keys. Takes precedence over
/// [`set_keys`], for a process that writes to more than one outbox. It ends when `work` returns: a future that
/// `work` returns runs outside of it.
///
/// ```
/// # fn run() -> Result<(), diesel_outbox::signing::KeysError> {
/// use diesel_outbox::signing::{self, Keys};
///
/// # let place_order = || ();
/// let keys = Keys::parse("2026-11:5d41402abc4b2a76b9719d911017c592")?;
/// signing::with_keys(&keys, || place_order());
/// # Ok(())
/// # }
/// ```
pub fn with_keys<T>(keys: &Keys, work: impl FnOnce() -> T) -> T {
    within(Some(keys), work)
}

/// Like [`with_keys`]; `None` changes nothing.
pub(crate) fn within<T>(keys: Option<&Keys>, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Keys>);

    impl Drop for Restore {
        fn drop(&mut self) {
            OF_THREAD.set(self.0.take());
        }
    }

    let Some(keys) = keys else { return work() };
    let _restore = Restore(OF_THREAD.replace(Some(keys.clone())));
    work()
}

/// The keys with which rows are signed now; `None` if they are not signed.
pub(crate) fn current() -> Option<Keys> {
    let of_thread = OF_THREAD.with_borrow(Clone::clone);
    of_thread.or_else(|| {
        let of_process = OF_PROCESS.read().unwrap_or_else(PoisonError::into_inner);
        of_process.clone()
    })
}
