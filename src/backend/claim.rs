//! The parts of a claim that are not always there, in the words of a database.

use super::scope::{Filter, Freshness};

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
    /// The parameter for the first row to look at.
    pub(super) first: &'static str,
    /// Whether the key is among those to leave alone.
    pub(super) other_key: &'static str,
}

impl Words {
    /// A claim with its parts filled in: `{let_through}`, `{from}`, `{own}`, `{none_held}`,
    /// `{none_behind}`, `{none_kept_back}`, `{others}`, `{order}`, `{stamp}`, `{key}`.
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
        let (from, none_behind) = match (filter.freshness, filter.from) {
            (Freshness::Fresh | Freshness::Newest, _) => {
                ("", self.none_behind.replace(self.first, "p.seq"))
            }
            (_, Some(_)) => (self.from, self.none_behind.to_owned()),
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
            .replace("{others}", &others)
            .replace("{order}", order)
            .replace("{none_behind}", &none_behind)
            .replace("{none_kept_back}", &none_kept_back)
            .replace("{stamp}", stamp)
            .replace("{key}", &key)
    }
}
