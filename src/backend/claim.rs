//! The optional parts of a claim's statement.

use super::lifecycle::LifecycleTable;
use super::scope::{Filter, Freshness};

/// One database's SQL for the optional parts of a claim. `{row}` is replaced by the
/// row's name, `{key}` by its key.
pub(super) struct ClaimParts {
    /// Whether the filter accepts a row for its stream and target: by the streams to claim, the targets to claim, the
    /// paused streams and the open circuits.
    pub(super) accepted: [&'static str; 4],
    /// A row's key, if there is a rule for it.
    pub(super) ruled_key: &'static str,
    /// Tables of the keys whose rows this relay has leased: `own`, and of those `own_blocked`
    /// with the first row that is blocked in another way. `{if_behind}` and `{end}` surround the `seq`
    /// of that row.
    pub(super) own: &'static str,
    /// The key in these tables.
    pub(super) own_key: &'static str,
    /// Whether the row is not before the first row to scan.
    pub(super) from: &'static str,
    /// Whether no earlier row of the key is leased, delayed or parked.
    pub(super) none_blocking: &'static str,
    /// Whether a row of the key waits before the first row to scan; `seq` is the last condition of each part.
    pub(super) behind: &'static str,
    /// The parameter for the first row to scan.
    pub(super) first: &'static str,
    /// Whether the key is one of those to leave alone.
    pub(super) other_key: &'static str,
}

/// A `seq` lower than that of any row.
const BEFORE_ALL: i64 = i64::MIN + 1;

impl ClaimParts {
    /// The conditions of a filter that has some.
    fn accepted(&self, filter: &Filter) -> String {
        let lists = [
            &filter.streams,
            &filter.destinations,
            &filter.paused,
            &filter.open_circuits,
        ];
        let conditions = self.accepted.iter().zip(lists);
        let conditions = conditions.filter(|(_, list)| *list != "[]");
        let conditions: Vec<&str> = conditions.map(|(condition, _)| *condition).collect();
        conditions.join(" and ")
    }

    /// A claim with its parts filled in: `{accepted}`, `{from}`, `{own}`, `{none_blocking}`,
    /// `{none_behind}`, `{none_excluded}`, `{others}`, `{order}`, `{stamp}`, `{key}`.
    pub(super) fn fill(&self, claim: &str, table: LifecycleTable, filter: &Filter) -> String {
        let of = |text: &str, row: &str| text.replace("{row}", row);
        let (mut accepted, mut none_excluded) = (String::new(), String::new());
        if filter.has_conditions {
            let conditions = self.accepted(filter);
            accepted = format!("and {}", of(&conditions, "p"));
            // A row that is due later blocks its key, or this relay has leased it.
            let refused = format!("p.seq and not ({})", of(&conditions, "e"));
            let kept_back = self.behind.replace(self.first, &refused);
            none_excluded = format!("and not ({kept_back})");
        }
        let none_behind = format!(" and not ({})", self.behind);
        let (from, mut none_behind) = match (filter.freshness, filter.from) {
            (Freshness::Fresh | Freshness::Newest, _) => {
                ("", none_behind.replace(self.first, "p.seq"))
            }
            (_, Some(_)) => (self.from, none_behind),
            (_, None) => ("", String::new()),
        };
        let mut others = filter.not_rows("p");
        if !filter.not_keys.is_empty() {
            others.push_str(self.other_key);
        }
        if filter.freshness != Freshness::Any {
            others.push_str(" and p.retry = 0");
        }
        let order = match filter.freshness {
            Freshness::Newest => "p.seq desc",
            Freshness::Any | Freshness::Fresh => "p.seq",
        };
        let (key, mut stamp) = if filter.has_key_rule {
            (of(self.ruled_key, "p"), "key = {key},".to_owned())
        } else {
            ("p.key".to_owned(), String::new())
        };
        stamp.push_str(&table.crash_stamp("p.crashes", "p.lease_token"));
        let (own, none_blocking) = if filter.own_keys.is_empty() {
            (String::new(), self.none_blocking.to_owned())
        } else {
            // Once for each key, not for each of its rows: dead rows that an old snapshot keeps would be read
            // again at each of them.
            let (mut if_behind, mut end, mut of_others) = (String::new(), "", String::new());
            if !from.is_empty() {
                let behind = self.behind.replace("{key}", self.own_key);
                if_behind = format!("case when {behind} then {BEFORE_ALL} else ");
                end = " end";
                of_others = std::mem::take(&mut none_behind);
            }
            let own = self.own.replace("{if_behind}", &if_behind);
            let unless_own = format!(
                "case when {{key}} in (select own.key from own)
                    then not exists (select 1 from own_blocked o where o.key = {{key}} and o.seq < p.seq)
                    else {}{of_others} end",
                self.none_blocking
            );
            (own.replace("{end}", end), unless_own)
        };
        let filled = claim
            .replace("{accepted}", &accepted)
            .replace("{own}", &own)
            .replace("{none_blocking}", &none_blocking)
            .replace("{from}", from)
            .replace("{others}", &others)
            .replace("{order}", order)
            .replace("{none_behind}", &none_behind)
            .replace("{none_excluded}", &none_excluded)
            .replace("{stamp}", &stamp)
            .replace("{key}", &key);
        table.fill(&filled)
    }
}
