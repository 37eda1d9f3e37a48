//! A part of the outbox.

/// The part of the outbox that a relay sends; by default all of it.
#[doc(hidden)]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Only {
    /// These streams; none for any, and for rows of no stream.
    pub streams: Vec<String>,
    /// These destinations; none for any.
    pub destinations: Vec<String>,
}

/// What a claim leaves alone, as JSON arrays of names; `[]` where nothing is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) streams: String,
    pub(super) destinations: String,
    pub(super) paused: String,
}

impl Filter {
    /// `None` where every row may be claimed.
    pub(super) fn new(only: &Only, paused: &[String]) -> Option<Self> {
        if only.streams.is_empty() && only.destinations.is_empty() && paused.is_empty() {
            return None;
        }
        let json = |names: &[String]| serde_json::Value::from(names).to_string();
        Some(Self {
            streams: json(&only.streams),
            destinations: json(&only.destinations),
            paused: json(paused),
        })
    }
}

/// A claim with the rule of a filter in it, where there is one: for the row itself in the place of
/// `{let_through}`, for the earlier rows of its key in that of `{none_kept_back}`. In the rule
/// `{row}` stands for the row's name.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) fn filtered(claim: &str, rule: Option<&str>) -> String {
    let (let_through, none_kept_back) = match rule {
        None => (String::new(), String::new()),
        Some(rule) => (
            format!("and {}", rule.replace("{row}", "p")),
            format!(
                "and not exists (select 1 from published e
                    where e.key = p.key and e.status = 1 and e.seq < p.seq and not ({}))",
                rule.replace("{row}", "e")
            ),
        ),
    };
    claim
        .replace("{let_through}", &let_through)
        .replace("{none_kept_back}", &none_kept_back)
}
