//! Who may see the pages.

mod attempts;
mod login;
mod users;

use std::fmt;

pub(super) use login::{Denied, Login, digest};
pub(crate) use users::Users;
pub use users::{UsersError, hash_password};

/// The user of a request: the name in the log of changes.
///
/// An application with a login of its own gives it to a [`Dashboard`](super::Dashboard) that was made
/// [`without_login`](super::Dashboard::without_login), as an extension of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(pub String);

impl Default for User {
    /// A user without a name.
    fn default() -> Self {
        Self("anonymous".to_owned())
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who may see the pages.
#[derive(Debug)]
pub(super) enum Access {
    /// Users who log in.
    Login(Login),
    /// Everybody who reaches them: the application checks who does.
    Everybody,
}
