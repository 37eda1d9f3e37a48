//! The schema that the outbox is in.

/// The schema of our outbox.
#[doc(hidden)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Its name; `None` if the database has no schemas, or the search path contains none for the outbox.
    pub schema: Option<String>,
    /// Whether it has a table `published`.
    pub has_outbox: bool,
    /// Other schemas of the search path that have a table `published`.
    pub others: Vec<String>,
}

/// Why the tables of an outbox cannot be read.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// A table or a column is missing.
    Missing,
    /// The tables exist, but the user may not read them.
    Denied,
    /// The tables exist and may be read: the cause is something else.
    Exist,
}
