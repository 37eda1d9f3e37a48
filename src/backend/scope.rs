//! Which rows a claim scans, and by which key.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::column_widths::KEY as LONGEST_KEY;

/// Which rows a relay claims; by default all, each by its own key.
#[doc(hidden)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only these streams; if empty, all rows, including those without a stream.
    pub streams: Vec<String>,
    /// Only these destinations; if empty, all.
    pub destinations: Vec<String>,
    /// Not these destinations. Their rows block their keys as rows of a paused stream do.
    pub open_circuits: Vec<String>,
    /// Streams whose rows share one key, if the rows have none of their own.
    pub ordered_streams: Vec<String>,
    /// Destinations whose rows share one key, if the rows have none of their own.
    pub ordered_destinations: Vec<String>,
    /// Keys whose leased rows are sent by this relay before what is claimed now, so they do not
    /// block it.
    pub own_keys: Vec<String>,
    /// The tokens of those leases.
    pub own_tokens: Vec<Uuid>,
    /// Not the rows before this `seq`, and no later rows of the keys that wait there.
    pub from: Option<i64>,
    /// Many rows may wait behind a blocked row of their key. A claim from the beginning then finds the keys with
    /// many rows first, and examines each of them once, where the database does not do that anyway.
    pub is_crowded: bool,
    /// Not these rows, by their `seq`.
    pub not_rows: Vec<i64>,
    /// No rows of these keys.
    pub not_keys: Vec<String>,
    /// Which rows by their failed attempts.
    pub freshness: Freshness,
}

/// Which rows a claim takes by their failed attempts so far.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Freshness {
    /// All, the oldest first.
    #[default]
    Any,
    /// Rows that have not failed and are each the first of its key, the oldest first.
    Fresh,
    /// The same, the newest first. Not if rules give keys: an earlier row that waits may not
    /// have its key yet.
    Newest,
}

impl Scope {
    /// Whether rules give keys to rows.
    #[must_use]
    pub fn has_key_rule(&self) -> bool {
        !self.ordered_streams.is_empty() || !self.ordered_destinations.is_empty()
    }

    /// The key that the rules give to a row of this stream and destination without its own.
    #[must_use]
    pub fn ruled_key(&self, stream: Option<&str>, destination: &str) -> Option<String> {
        let is_ordered = |names: &[String], name: &str| names.iter().any(|other| other == name);
        match stream {
            Some(stream) if is_ordered(&self.ordered_streams, stream) => {
                Some(shared_key("stream", stream))
            }
            _ => is_ordered(&self.ordered_destinations, destination)
                .then(|| shared_key("destination", destination)),
        }
    }
}

/// The parts of a claim's statement: names as JSON.
#[derive(Debug, Clone)]
pub struct Filter {
    pub(super) streams: String,
    pub(super) destinations: String,
    pub(super) paused: String,
    pub(super) open_circuits: String,
    /// Objects: the key for each stream, for each destination.
    pub(super) stream_keys: String,
    pub(super) destination_keys: String,
    pub(super) own_keys: Vec<String>,
    pub(super) own_tokens: Vec<Uuid>,
    pub(super) from: Option<i64>,
    #[allow(dead_code)] // not every database needs it
    pub(super) is_crowded: bool,
    pub(super) not_rows: Vec<i64>,
    pub(super) not_keys: Vec<String>,
    pub(super) freshness: Freshness,
    /// Whether rows of any stream or destination are left alone.
    pub(super) has_conditions: bool,
    pub(super) has_key_rule: bool,
}

impl Filter {
    pub(super) fn new(scope: &Scope, paused: &[String]) -> Self {
        let array = |names: &[String]| Value::from(names).to_string();
        let has_conditions = [
            &scope.streams,
            &scope.destinations,
            &scope.open_circuits,
            &paused.to_vec(),
        ]
        .iter()
        .any(|names| !names.is_empty());
        Self {
            streams: array(&scope.streams),
            destinations: array(&scope.destinations),
            paused: array(paused),
            open_circuits: array(&scope.open_circuits),
            stream_keys: keys("stream", &scope.ordered_streams),
            destination_keys: keys("destination", &scope.ordered_destinations),
            own_keys: scope.own_keys.clone(),
            own_tokens: scope.own_tokens.clone(),
            from: scope.from,
            // With a rule the key of a row is not the one that is stored.
            is_crowded: scope.is_crowded && scope.from.is_none() && !scope.has_key_rule(),
            not_rows: scope.not_rows.clone(),
            not_keys: scope.not_keys.clone(),
            freshness: scope.freshness,
            has_conditions,
            has_key_rule: scope.has_key_rule(),
        }
    }

    #[allow(dead_code)] // not every database needs it
    pub(super) fn own_keys(&self) -> String {
        Value::from(self.own_keys.as_slice()).to_string()
    }

    #[allow(dead_code)] // not every database needs it
    pub(super) fn not_keys(&self) -> String {
        Value::from(self.not_keys.as_slice()).to_string()
    }

    /// A condition on `seq` that excludes rows; numbers need no quotes.
    pub(super) fn not_rows(&self, row: &str) -> String {
        if self.not_rows.is_empty() {
            return String::new();
        }
        format!(" and {row}.seq not in ({})", numbers(&self.not_rows))
    }

    #[allow(dead_code)] // not every database needs it
    pub(super) fn own_tokens(&self) -> String {
        let tokens = self.own_tokens.iter().map(Uuid::to_string);
        Value::from(tokens.collect::<Vec<_>>()).to_string()
    }
}

/// Numbers, separated by commas.
pub(super) fn numbers(numbers: &[i64]) -> String {
    let texts: Vec<String> = numbers.iter().map(i64::to_string).collect();
    texts.join(", ")
}

/// The key for each name.
fn keys(kind: &str, names: &[String]) -> String {
    let keys: Map<String, Value> = names
        .iter()
        .map(|name| (name.clone(), Value::String(shared_key(kind, name))))
        .collect();
    Value::Object(keys).to_string()
}

/// The key that rows of this name share if they have none of their own. If it would be too long, names
/// with the same beginning share one, which orders more than required.
pub(crate) fn shared_key(kind: &str, name: &str) -> String {
    let key = format!("{kind}:{name}");
    key.chars().take(LONGEST_KEY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_makes_keys_that_fit_the_column() {
        let long = "/queue/".to_owned() + &"é".repeat(248);
        let keys: Map<String, Value> =
            serde_json::from_str(&keys("destination", &["/queue/a".to_owned(), long.clone()]))
                .unwrap();
        assert_eq!(keys["/queue/a"], "destination:/queue/a");
        assert_eq!(keys[&long].as_str().unwrap().chars().count(), 255);
    }
}
