//! Who changed what on the pages for operators.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use uuid::Uuid;

use super::qualify::RunQueryDsl;
use crate::schema::{Moment, outbox_trail};

/// A change that a user made, or tried to make.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The user.
    pub user: String,
    /// What was done, such as `retry`.
    pub action: String,
    /// To what: `messages`, `calls`, a stream, dead letters of a queue.
    pub target: String,
    /// To which of them: a filter or ids.
    pub details: String,
    /// The number of rows or messages that were changed.
    pub changed: u64,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Maximum numbers of characters of the columns.
const NAME: usize = 100;
const ACTION: usize = 40;
const TARGET: usize = 255;
const DETAILS: usize = 10_000;

/// The table of changes; not for use by hand.
#[doc(hidden)]
pub trait Trail {
    /// Records a change. Texts that are too long are cut off.
    fn record_change(&mut self, change: &Change) -> QueryResult<()>;

    /// The last changes, the latest first, with their times.
    fn last_changes(&mut self, limit: i64) -> QueryResult<Vec<(DateTime<Utc>, Change)>>;
}

type Stored = (Moment, String, String, String, String, i64, Option<String>);

/// The beginning of a text, without U+0000, which no column can hold.
fn cut(text: &str, most: usize) -> String {
    text.chars().filter(|it| *it != '\0').take(most).collect()
}

macro_rules! trail {
    ($module:ident: $connection:ty) => {
        impl Trail for $connection {
            fn record_change(&mut self, change: &Change) -> QueryResult<()> {
                let error = change.error.as_deref();
                diesel::insert_into(outbox_trail::table)
                    .values((
                        outbox_trail::id.eq(Uuid::now_v7().to_string()),
                        outbox_trail::name.eq(cut(&change.user, NAME)),
                        outbox_trail::action.eq(cut(&change.action, ACTION)),
                        outbox_trail::target.eq(cut(&change.target, TARGET)),
                        outbox_trail::details.eq(cut(&change.details, DETAILS)),
                        outbox_trail::changed.eq(i64::try_from(change.changed).unwrap_or(i64::MAX)),
                        outbox_trail::error.eq(error.map(|error| cut(error, DETAILS))),
                    ))
                    .execute(self)
                    .map(drop)
            }

            fn last_changes(&mut self, limit: i64) -> QueryResult<Vec<(DateTime<Utc>, Change)>> {
                let rows: Vec<Stored> = outbox_trail::table
                    .select((
                        outbox_trail::added,
                        outbox_trail::name,
                        outbox_trail::action,
                        outbox_trail::target,
                        outbox_trail::details,
                        outbox_trail::changed,
                        outbox_trail::error,
                    ))
                    .order((outbox_trail::added.desc(), outbox_trail::id.desc()))
                    .limit(limit)
                    .load(self)?;
                let changes = rows.into_iter().map(
                    |(added, user, action, target, details, changed, error)| {
                        let change = Change {
                            user,
                            action,
                            target,
                            details,
                            changed: u64::try_from(changed).unwrap_or(0),
                            error,
                        };
                        (added.0, change)
                    },
                );
                Ok(changes.collect())
            }
        }
    };
}

super::databases!(trail);
