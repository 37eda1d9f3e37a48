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
            is_picky,
            has_key_rule: scope.has_key_rule(),
        }
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(super) fn own_keys(&self) -> String {
        Value::from(self.own_keys.as_slice()).to_string()
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(super) fn own_tokens(&self) -> String {
        let tokens = self.own_tokens.iter().map(Uuid::to_string);
        Value::from(tokens.collect::<Vec<_>>()).to_string()
    }
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

/// What a database says for the parts of a claim that are not always there. `{row}` stands for the
/// row's name, `{key}` for its key.
pub(super) struct Words {
    /// Whether a row is let through for its stream and destination.
    pub(super) let_through: &'static str,
    /// A row's key, where there is a rule for it.
    pub(super) ruled_key: &'static str,
    /// Tables of the keys of which rows are under leases of ours: `own`, and of those `own_held`
    /// with the first row that is held up in another way.
    pub(super) own: &'static str,
    /// Whether the row is not before the first one to look at.
    pub(super) from: &'static str,
    /// Whether no earlier row of the key is held up.
    pub(super) none_held: &'static str,
    /// Whether no row of the key waits before the first one to look at.
    pub(super) none_behind: &'static str,
}

impl Words {
    /// A claim with its parts filled in: `{let_through}`, `{from}`, `{own}`, `{none_held}`,
    /// `{none_behind}`, `{none_kept_back}`, `{stamp}`, `{key}`.
    pub(super) fn fill(&self, claim: &str, filter: &Filter) -> String {
        let of = |text: &str, row: &str| text.replace("{row}", row);
        let (mut let_through, mut none_kept_back) = (String::new(), String::new());
        if filter.is_picky {
            let_through = format!("and {}", of(self.let_through, "p"));
            none_kept_back = format!(
                "and not exists (select 1 from published e
                    where e.key = {{key}} and e.status = 1 and e.seq < p.seq and not ({}))",
                of(self.let_through, "e")
            );
        }
        let (from, none_behind) = match filter.from {
            Some(_) => (self.from, self.none_behind),
            None => ("", ""),
        };
        let (key, stamp) = if filter.has_key_rule {
            (of(self.ruled_key, "p"), "key = {key},")
        } else {
            ("p.key".to_owned(), "")
        };
        let (own, none_held) = if filter.own_keys.is_empty() {
            ("", self.none_held.to_owned())
        } else {
            let unless_own = format!(
                "case when {{key}} in (select own.key from own)
                    then not exists (select 1 from own_held o where o.key = {{key}} and o.seq < p.seq)
                    else {} end",
                self.none_held
            );
            (self.own, unless_own)
        };
        claim
            .replace("{let_through}", &let_through)
            .replace("{own}", own)
            .replace("{none_held}", &none_held)
            .replace("{from}", from)
            .replace("{none_behind}", none_behind)
            .replace("{none_kept_back}", &none_kept_back)
            .replace("{stamp}", stamp)
            .replace("{key}", &key)
    }
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
