//! The tables whose rows have leases.

/// A table whose rows have leases. Its indexes are `NAME_waiting` and `NAME_held`, and on MySQL
/// `NAME_seq`.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifecycleTable {
    /// Its name.
    pub name: &'static str,
    /// A number by which the claims on each table have a separate lock.
    pub number: i64,
    /// The column for the time at which a row succeeded.
    pub settled_at: &'static str,
    /// The column for the target of a row: a claim can be limited to some of its values.
    pub target: &'static str,
    /// The column for the body, as JSON.
    pub body: &'static str,
    /// Whether its rows are executed: a claim reads their payload, and counts a lease that ended with its
    /// holder in `crashes`.
    pub is_executed: bool,
}

/// The outbox.
#[doc(hidden)]
pub const PUBLISHED: LifecycleTable = LifecycleTable {
    name: "published",
    number: 0,
    settled_at: "sent_at",
    target: "destination",
    body: "body",
    is_executed: false,
};

/// Function calls.
#[doc(hidden)]
pub const CALLS: LifecycleTable = LifecycleTable {
    name: "outbox_calls",
    number: 1,
    settled_at: "done_at",
    target: "name",
    body: "args",
    is_executed: true,
};

impl LifecycleTable {
    /// Fills this table's name and columns into a statement.
    pub(in crate::backend) fn fill(self, statement: &str) -> String {
        statement
            .replace("{table}", self.name)
            .replace("{settled_at}", self.settled_at)
            .replace("{target}", self.target)
            .replace("{body}", self.body)
            .replace("{payload_size}", self.payload_size())
    }

    /// What a row's payload adds to the size of its body, in SQL.
    fn payload_size(self) -> &'static str {
        if self.is_executed {
            " + coalesce(length(payload), 0)"
        } else {
            ""
        }
    }

    /// The columns that only calls have, as a claim reads them from the row `row`, in SQL. The payload is read under
    /// the condition `fits`.
    pub(in crate::backend) fn call_columns(self, row: &str, fits: &str) -> String {
        if self.is_executed {
            format!(
                ", {row}.encoding, case when {fits} then {row}.payload end as payload, {row}.crashes"
            )
        } else {
            String::new()
        }
    }

    /// A claim's change to the column `crashes` if the row's earlier token was `last_token`, in SQL.
    pub(in crate::backend) fn crash_stamp(self, crashes: &str, last_token: &str) -> String {
        if self.is_executed {
            format!(
                "crashes = case when {last_token} is not null and {crashes} = 0 then 1 else {crashes} end,"
            )
        } else {
            String::new()
        }
    }
}
