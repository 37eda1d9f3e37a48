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
