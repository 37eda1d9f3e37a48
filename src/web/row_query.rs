//! Which rows a page lists: the filters in its address.

use std::time::Duration;

use super::parameters::Parameters;
use crate::admin::{Cursor, Filter, RowState, Rows};

/// Rows on a page.
pub(super) const PAGE: usize = 50;

/// A list of rows: those of some states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tab {
    /// Rows that wait, those under a lease included.
    #[default]
    Waiting,
    /// Parked rows.
    Parked,
    /// Rows that were sent or executed.
    Done,
}

impl Tab {
    pub(super) const ALL: [Self; 3] = [Self::Waiting, Self::Parked, Self::Done];

    /// Its value in an address.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Parked => "parked",
            Self::Done => "done",
        }
    }

    /// Its title.
    pub(super) fn title(self, of: Rows) -> &'static str {
        match (self, of) {
            (Self::Waiting, _) => "Waiting",
            (Self::Parked, _) => "Parked",
            (Self::Done, Rows::Messages) => "Sent",
            (Self::Done, Rows::Calls) => "Executed",
        }
    }
}

/// The names of the filters in an address, which are those of the flags of `outbox list`.
pub(super) const FILTERS: [&str; 7] = [
    "id",
    "to",
    "stream",
    "key",
    "error",
    "older-than",
    "newer-than",
];

/// The filters and the place of a list.
#[derive(Debug, Clone, Default)]
pub(super) struct RowQuery {
    pub(super) tab: Tab,
    /// The filters that are given, by their names.
    pub(super) given: Parameters,
    pub(super) after: Option<Cursor>,
    filter: Filter,
}

/// A filter that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: `{value}` is not {expected}")]
pub(super) struct BadFilter {
    name: &'static str,
    value: String,
    expected: &'static str,
}

impl RowQuery {
    /// Reads the filters of an address or of a form.
    pub(super) fn read(parameters: &Parameters) -> Result<Self, BadFilter> {
        let tab = match parameters.text("state") {
            None => Tab::default(),
            Some(value) => {
                let found = Tab::ALL.into_iter().find(|tab| tab.name() == value);
                found.ok_or_else(|| bad("state", value, "waiting, parked or done"))?
            }
        };
        let mut query = Self {
            tab,
            ..Self::default()
        };
        for name in FILTERS {
            let Some(value) = parameters.text(name) else {
                continue;
            };
            query.given = query.given.with(name, value);
            query.filter = match name {
                "id" => query.filter.id(value),
                "to" => query.filter.destination(value),
                "stream" => query.filter.stream(value),
                "key" => query.filter.key(value),
                "error" => query.filter.error(value),
                "older-than" => query.filter.older_than(age(name, value)?),
                _ => query.filter.newer_than(age(name, value)?),
            };
        }
        query.after = after(parameters)?;
        Ok(query)
    }

    /// Whether no filter is given.
    pub(super) fn is_empty(&self) -> bool {
        self.given == Parameters::default()
    }

    /// The filters, without the states of the tab.
    pub(super) fn filter(&self) -> Filter {
        self.filter.clone()
    }

    /// The filters, with the states of the tab.
    pub(super) fn listed(&self) -> Filter {
        match self.tab {
            Tab::Waiting => {
                let filter = self.filter().state(RowState::Waiting);
                filter.state(RowState::Leased)
            }
            Tab::Parked => self.filter().state(RowState::Parked),
            Tab::Done => self.filter(),
        }
    }

    /// The parameters of the address, without the place.
    pub(super) fn parameters(&self) -> Parameters {
        let first = Parameters::default().with("state", self.tab.name());
        let pairs = self.given.pairs();
        pairs.fold(first, |all, (name, value)| all.with(name, value))
    }

    /// The link to a tab with the same filters.
    pub(super) fn link(&self, page: &str, tab: Tab) -> String {
        let query = Self {
            tab,
            ..self.clone()
        };
        query.parameters().link(page)
    }

    /// The filters in words; empty if there are none.
    pub(super) fn words(&self) -> String {
        let pairs = self.given.pairs();
        let words: Vec<String> = pairs
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        words.join(", ")
    }
}

/// The place of a page in a list.
pub(super) fn after(parameters: &Parameters) -> Result<Option<Cursor>, BadFilter> {
    let Some(text) = parameters.text("after") else {
        return Ok(None);
    };
    let cursor = text.parse();
    cursor
        .map(Some)
        .map_err(|_| bad("after", text, "a place that a page has linked to"))
}

/// An age such as `2h`.
pub(super) fn age(name: &'static str, value: &str) -> Result<Duration, BadFilter> {
    humantime::parse_duration(value).map_err(|_| bad(name, value, "a time such as 2h or 3d 12h"))
}

fn bad(name: &'static str, value: &str, expected: &'static str) -> BadFilter {
    BadFilter {
        name,
        value: value.chars().take(100).collect(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<RowQuery, BadFilter> {
        RowQuery::read(&Parameters::parse(query.as_bytes()))
    }

    #[test]
    fn an_address_is_a_filter() {
        let query = read("state=parked&error=no+such&to=&older-than=2h&x=1").unwrap();
        let expected = Filter::new()
            .error("no such")
            .older_than(Duration::from_secs(7200));
        assert_eq!(query.filter(), expected);
        assert_eq!(query.listed(), expected.state(RowState::Parked));
        assert_eq!(query.words(), "error no such, older-than 2h");
        let link = query.link("messages", Tab::Done);
        assert_eq!(link, "messages?state=done&error=no+such&older-than=2h");
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (query, expected) in [
            ("state=x", "state: `x` is not waiting, parked or done"),
            (
                "older-than=2x",
                "older-than: `2x` is not a time such as 2h or 3d 12h",
            ),
            (
                "after=x",
                "after: `x` is not a place that a page has linked to",
            ),
        ] {
            assert_eq!(read(query).unwrap_err().to_string(), expected);
        }
    }
}
