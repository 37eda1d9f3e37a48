//! The schema of PostgreSQL that our statements mean.
//!
//! The innermost [`in_schema`] on this thread decides, then [`set_schema`], then the environment
//! variable `OUTBOX_DATABASE_SCHEMA`. If none of them names a schema, the search path decides.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// The setting `database_schema`, for processes that do not read settings.
const VARIABLE: &str = "OUTBOX_DATABASE_SCHEMA";

thread_local! {
    static OF_THREAD: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

static OF_PROCESS: LazyLock<RwLock<Option<Arc<str>>>> =
    LazyLock::new(|| RwLock::new(std::env::var(VARIABLE).ok().and_then(|name| named(&name))));

/// The variable's value; `none` and an empty value name no schema.
fn named(name: &str) -> Option<Arc<str>> {
    let name = name.trim();
    (!name.is_empty() && name != "none").then(|| name.into())
}

/// Sets the schema of the outbox for all threads of this process, on PostgreSQL. `save`,
/// `publish`, `cancel`, `migrate` and all other functions of this crate then mean the tables in that
/// schema, whatever the search path of a connection is.
///
/// It replaces the environment variable `OUTBOX_DATABASE_SCHEMA`; with `None` the search
/// path decides. A relay or subscriber with the setting `database_schema` uses that. MySQL, MariaDB and
/// SQLite ignore it.
///
/// ```
/// diesel_outbox::set_schema(Some("billing"));
/// # diesel_outbox::set_schema(None);
/// ```
pub fn set_schema(name: Option<&str>) {
    *OF_PROCESS.write().unwrap_or_else(PoisonError::into_inner) = name.map(Arc::from);
}

/// Runs `work` so that all functions of this crate on this thread mean the outbox in the
/// schema `name`, on PostgreSQL. Takes precedence over [`set_schema`], for a process that writes to more
/// than one outbox. It ends when `work` returns: a future that `work` returns runs outside of it.
///
/// ```
/// # let place_order = || ();
/// diesel_outbox::in_schema("billing", || place_order());
/// ```
pub fn in_schema<T>(name: &str, work: impl FnOnce() -> T) -> T {
    within(Some(name.into()), work)
}

/// Like [`in_schema`]; `None` changes nothing.
pub(crate) fn within<T>(schema: Option<Arc<str>>, work: impl FnOnce() -> T) -> T {
    struct Restore(Option<Arc<str>>);

    impl Drop for Restore {
        fn drop(&mut self) {
            OF_THREAD.set(self.0.take());
        }
    }

    if schema.is_none() {
        return work();
    }
    let _restore = Restore(OF_THREAD.replace(schema));
    work()
}

/// The schema that was set; `None` if the search path decides.
#[cfg(any(feature = "postgres", feature = "relay", feature = "subscriber"))]
pub(crate) fn current() -> Option<Arc<str>> {
    let of_thread = OF_THREAD.with_borrow(Clone::clone);
    of_thread.or_else(|| {
        let of_process = OF_PROCESS.read().unwrap_or_else(PoisonError::into_inner);
        of_process.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_scope_decides_and_a_panic_ends_it() {
        assert_eq!(current(), None);
        in_schema("a", || {
            let ended = std::panic::catch_unwind(|| in_schema("b", || panic!("{:?}", current())));
            assert!(ended.is_err());
            assert_eq!(current().as_deref(), Some("a"));
            within(None, || assert_eq!(current().as_deref(), Some("a")));
            std::thread::scope(|scope| {
                scope.spawn(|| assert_eq!(current(), None));
            });
        });
        assert_eq!(current(), None);
    }

    #[test]
    fn no_name_is_no_schema() {
        assert_eq!(named(" none "), None);
        assert_eq!(named(""), None);
        assert_eq!(named("Tenant").as_deref(), Some("Tenant"));
    }
}
