//! Headers and fields whose values are never shown.

use std::collections::HashSet;

/// What is shown instead of a value.
pub(super) const HIDDEN: &str = "***";

/// The names of headers and fields whose values are never shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Redaction(HashSet<String>);

impl Redaction {
    pub(super) fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| normal(name)).collect())
    }

    /// Whether the value of this name is hidden.
    pub(super) fn hides(&self, name: &str) -> bool {
        self.0.contains(&normal(name))
    }
}

/// The name in lower case, with `_` for `-`.
fn normal(name: &str) -> String {
    name.trim().to_lowercase().replace('-', "_")
}
