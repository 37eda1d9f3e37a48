//! A connection to the database: one that was opened here, or one that is borrowed.

use std::ops::{Deref, DerefMut};

use super::lender::Borrowed;
use crate::backend::Backend;

/// A connection of a [`Db`](super::Db).
pub(crate) enum DbConnection<C: Backend> {
    /// Opened here, and closed when it is dropped.
    Own(C),
    /// Borrowed from the service's pool, and returned to it when it is dropped.
    Borrowed(Borrowed<C>),
}

impl<C: Backend> DbConnection<C> {
    /// The connection is closed when it is dropped, whether it was opened here or borrowed.
    pub(crate) fn retire(&mut self) {
        match self {
            Self::Own(_) => {}
            Self::Borrowed(borrowed) => borrowed.retire(),
        }
    }
}

impl<C: Backend> Deref for DbConnection<C> {
    type Target = C;

    fn deref(&self) -> &C {
        match self {
            Self::Own(connection) => connection,
            Self::Borrowed(borrowed) => borrowed,
        }
    }
}

impl<C: Backend> DerefMut for DbConnection<C> {
    fn deref_mut(&mut self) -> &mut C {
        match self {
            Self::Own(connection) => connection,
            Self::Borrowed(borrowed) => borrowed,
        }
    }
}
