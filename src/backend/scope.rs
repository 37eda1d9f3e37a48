//! Which rows a claim looks at, and by which key.

use serde_json::{Map, Value};
use uuid::Uuid;

/// The longest key that the column holds, in characters.
const LONGEST_KEY: usize = 255;

/// Which rows a relay claims; by default all of them, each by its own key.
#[doc(hidden)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// These streams; none for any, and for rows of no stream.
    pub streams: Vec<String>,
    /// These destinations; none for any.
    pub destinations: Vec<String>,
    /// Not these destinations, whose rows hold up their keys as rows of a paused stream do.
    pub set_aside: Vec<String>,
    /// Streams whose rows have one key together, where they have none of their own.
    pub ordered_streams: Vec<String>,
    /// Destinations whose rows have one key together, where they have none of their own.
    pub ordered_destinations: Vec<String>,
    /// Keys of which rows are under leases of ours and go out before what is claimed now, so that
    /// they hold up nothing.
    pub own_keys: Vec<String>,
    /// The tokens of these leases.
    pub own_tokens: Vec<Uuid>,
    /// Not the rows before this `seq`, nor later ones of the keys that wait there.
    pub from: Option<i64>,
    /// Not these rows, by their `seq`.
    pub not_rows: Vec<i64>,
    /// No rows of these keys.
    pub not_keys: Vec<String>,
    /// Which rows by their own failures.
    pub freshness: Freshness,
}

/// Which rows a claim takes by their own failures so far.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Freshness {
    /// All, the oldest first.
    #[default]
    Any,
    /// Rows that have not failed, each the first of its key, the oldest first.
    Fresh,
    /// The same, the newest first. Not if rows get keys by a rule: one that waits before may not
    /// have its key yet.
    Newest,
}

impl Scope {
    /// Whether rows get keys by a rule.
    #[must_use]
    pub fn has_key_rule(&self) -> bool {
        !self.ordered_streams.is_empty() || !self.ordered_destinations.is_empty()
    }
}

/// What the statement of a claim is made of: names as JSON.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    pub(super) streams: String,
    pub(super) destinations: String,
    pub(super) paused: String,
    pub(super) set_aside: String,
    /// Objects: the key for a stream, for a destination.
    pub(super) stream_keys: String,
    pub(super) destination_keys: String,
    pub(super) own_keys: Vec<String>,
    pub(super) own_tokens: Vec<Uuid>,
    pub(super) from: Option<i64>,
    pub(super) not_rows: Vec<i64>,
    pub(super) not_keys: Vec<String>,
    pub(super) freshness: Freshness,
    /// Whether any row is left alone for its stream or its destination.
    pub(super) is_picky: bool,
    pub(super) has_key_rule: bool,
}

impl Filter {
    pub(super) fn new(scope: &Scope, paused: &[String]) -> Self {
        let array = |names: &[String]| Value::from(names).to_string();
        let is_picky = [
            &scope.streams,
            &scope.destinations,
            &scope.set_aside,
            &paused.to_vec(),
        ]
        .iter()
        .any(|names| !names.is_empty());
        Self {
            streams: array(&scope.streams),
            destinations: array(&scope.destinations),
            paused: array(paused),
            set_aside: array(&scope.set_aside),
            stream_keys: keys("stream", &scope.ordered_streams),
            destination_keys: keys("destination", &scope.ordered_destinations),
            own_keys: scope.own_keys.clone(),
            own_tokens: scope.own_tokens.clone(),
            from: scope.from,
            not_rows: scope.not_rows.clone(),
            not_keys: scope.not_keys.clone(),
            freshness: scope.freshness,
            is_picky,
            has_key_rule: scope.has_key_rule(),
        }
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(super) fn own_keys(&self) -> String {
        Value::from(self.own_keys.as_slice()).to_string()
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(super) fn not_keys(&self) -> String {
        Value::from(self.not_keys.as_slice()).to_string()
    }

    /// A condition on `seq` that leaves out rows; numbers need no quotes.
    pub(super) fn not_rows(&self, row: &str) -> String {
        if self.not_rows.is_empty() {
            return String::new();
        }
        format!(" and {row}.seq not in ({})", numbers(&self.not_rows))
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(super) fn own_tokens(&self) -> String {
        let tokens = self.own_tokens.iter().map(Uuid::to_string);
        Value::from(tokens.collect::<Vec<_>>()).to_string()
    }
}

/// Numbers with commas between them.
pub(super) fn numbers(numbers: &[i64]) -> String {
    let texts: Vec<String> = numbers.iter().map(i64::to_string).collect();
    texts.join(", ")
}

/// The key for each name. Where it would be too long, names that begin alike share one, which
/// orders more than was asked.
fn keys(kind: &str, names: &[String]) -> String {
    let key =
        |name: &String| -> String { format!("{kind}:{name}").chars().take(LONGEST_KEY).collect() };
    let keys: Map<String, Value> = names
        .iter()
        .map(|name| (name.clone(), Value::String(key(name))))
        .collect();
    Value::Object(keys).to_string()
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
