//! The values of one source.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::key;
use super::origin::Origin;
use super::value::{Table, Value};

/// The values of one source, and the place of each.
#[derive(Clone, Default)]
pub(super) struct Layer {
    entries: BTreeMap<String, (Value, Origin)>,
    /// The tables `[[subscription]]`, and the file that contains them.
    pub(super) subscriptions: Option<(PathBuf, Vec<Table>)>,
}

impl Layer {
    pub(super) fn insert(&mut self, name: &str, value: Value, origin: Origin) {
        self.entries.insert(name.to_owned(), (value, origin));
    }

    pub(super) fn get(&self, name: &str) -> Option<&(Value, Origin)> {
        self.entries.get(name)
    }

    /// The names that are not settings, with their places.
    pub(super) fn unknown(&self) -> impl Iterator<Item = (&str, &Origin)> {
        let entries = self.entries.iter();
        entries
            .filter(|(name, _)| key::find(name).is_none())
            .map(|(name, (_, origin))| (name.as_str(), origin))
    }
}
