//! Which rows an operator means.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{PARKED, SUCCEEDED, WAITING};
use crate::backend::dialect::Dialect;
use crate::backend::moments::before;
use crate::backend::names;
use crate::backend::row_state::RowState;

/// Which rows are listed or changed: those that meet all conditions. [`Filter::new`] accepts every row.
///
/// ```
/// use diesel_outbox::admin::{Filter, RowState};
/// use std::time::Duration;
///
/// let refused = Filter::new()
///     .state(RowState::Parked)
///     .destination("/topic/orders.v1")
///     .error("precondition_failed")
///     .older_than(Duration::from_secs(3600));
/// # let _ = refused;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    states: Vec<RowState>,
    ids: Vec<String>,
    stream: Option<String>,
    destination: Option<String>,
    key: Option<String>,
    error: Option<String>,
    older_than: Option<Duration>,
    newer_than: Option<Duration>,
}

impl Filter {
    /// Accepts every row.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rows in this state; if it is called several times, rows in one of these states. `Sent` and `Executed` are
    /// the same.
    #[must_use]
    pub fn state(mut self, state: RowState) -> Self {
        self.states.push(state);
        self
    }

    /// The row with this id; if it is called several times, the rows with one of these ids. A UUID may be written
    /// with hyphens or without, in any case.
    #[must_use]
    pub fn id(mut self, id: impl ToString) -> Self {
        self.ids.push(id.to_string());
        self
    }

    /// Rows of this stream.
    #[must_use]
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = Some(name.into());
        self
    }

    /// Rows with this destination, `.version` included; calls of the function with this name.
    #[must_use]
    pub fn destination(mut self, destination: impl Into<String>) -> Self {
        self.destination = Some(destination.into());
        self
    }

    /// Rows with this ordering key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Rows whose error contains this text, in the same case. `%` and `_` have no special meaning.
    #[must_use]
    pub fn error(mut self, part: impl Into<String>) -> Self {
        self.error = Some(part.into());
        self
    }

    /// Rows that were written this long ago or longer, by the database's clock.
    #[must_use]
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }

    /// Rows that were written less than this long ago, by the database's clock.
    #[must_use]
    pub fn newer_than(mut self, age: Duration) -> Self {
        self.newer_than = Some(age);
        self
    }

    /// The condition in SQL; `None` if no row can meet it. The table's columns are not filled in.
    pub(super) fn condition<C: Dialect>(&self, now: DateTime<Utc>) -> Option<String> {
        let time = C::time_literal(now);
        let mut all = vec!["1 = 1".to_owned()];
        let states: Vec<String> = self
            .states
            .iter()
            .map(|state| match state {
                RowState::Waiting => {
                    format!("(status = {WAITING} and (lease_token is null or due_at <= {time}))")
                }
                RowState::Leased => {
                    format!("(status = {WAITING} and lease_token is not null and due_at > {time})")
                }
                RowState::Parked => format!("status = {PARKED}"),
                RowState::Sent | RowState::Executed => format!("status = {SUCCEEDED}"),
            })
            .collect();
        if !states.is_empty() {
            all.push(format!("({})", states.join(" or ")));
        }
        if !self.ids.is_empty() {
            all.push(one_of::<C>(&self.ids)?);
        }
        for (column, value) in [
            ("stream", &self.stream),
            ("{target}", &self.destination),
            (C::KEY, &self.key),
        ] {
            if let Some(value) = value {
                all.push(format!("{column} = {}", literal::<C>(value)?));
            }
        }
        if let Some(part) = &self.error {
            all.push(C::contains("last_error", &literal::<C>(part)?));
        }
        all.extend(ages::<C>(self.older_than, self.newer_than, now));
        Some(all.join(" and "))
    }
}

/// The conditions on the time of writing.
pub(in crate::backend) fn ages<C: Dialect>(
    older_than: Option<Duration>,
    newer_than: Option<Duration>,
    now: DateTime<Utc>,
) -> Vec<String> {
    let compared = |age: Option<Duration>, operator: &str| {
        age.map(|age| format!("added {operator} {}", C::time_literal(before(now, age))))
    };
    let older = compared(older_than, "<=");
    older.into_iter().chain(compared(newer_than, ">")).collect()
}

/// The condition that a row has one of these ids; `None` if no row can have one.
fn one_of<C: Dialect>(ids: &[String]) -> Option<String> {
    let mut literals: Vec<String> = Vec::new();
    for id in ids {
        if !C::HAS_TEXT_IDS {
            literals.extend(names::uuid(id).map(|uuid| format!("'{uuid}'")));
            continue;
        }
        let spellings = names::spellings(id);
        let spellings = spellings.iter().filter(|text| !text.contains('\0'));
        literals.extend(spellings.filter_map(|text| C::id_literal(text)));
    }
    (!literals.is_empty()).then(|| format!("id in ({})", literals.join(", ")))
}

/// A text as an SQL expression; none if it has U+0000, which no column can hold.
pub(in crate::backend) fn literal<C: Dialect>(text: &str) -> Option<String> {
    (!text.contains('\0')).then(|| C::text_literal(text))
}
