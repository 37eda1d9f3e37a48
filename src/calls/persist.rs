//! When a call gets a row.

/// When a call gets a row in `outbox_calls`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Persist {
    /// Always, in the transaction that writes it.
    #[default]
    Always,
    /// Only if it fails: **such a call is lost, without a trace, if its process ends between the commit and the end of
    /// the call.**
    ///
    /// It applies only to calls in a transaction of the feature `calls`
    /// ([`Immediate::transaction`](crate::calls::Immediate::transaction)), outside of its savepoints, without an id,
    /// ordering key, delay or expiry. All other calls have a row from the start.
    Failures,
}
