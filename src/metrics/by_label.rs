//! Handles for the values of a label. Their number is limited.

use std::collections::HashMap;
use std::fmt;

use super::series::OTHER;

/// The maximum number of values of a label, besides the one for all others.
const MOST: usize = 100;

/// Handles for each value of a label, made when the value is used first.
pub(crate) struct ByLabel<T> {
    positions: HashMap<String, usize>,
    /// The first one is for all values beyond the limit.
    handles: Vec<T>,
    make: fn(&str) -> T,
}

impl<T> fmt::Debug for ByLabel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByLabel")
            .field("values", &self.positions.len())
            .finish_non_exhaustive()
    }
}

impl<T> ByLabel<T> {
    /// `make` makes the handles for a value.
    pub(crate) fn new(make: fn(&str) -> T) -> Self {
        Self {
            positions: HashMap::new(),
            handles: vec![make(OTHER)],
            make,
        }
    }

    /// The handles for a value; those for all others if there are too many values.
    pub(crate) fn of(&mut self, value: &str) -> &T {
        let position = match self.positions.get(value) {
            Some(position) => *position,
            None if !cfg!(feature = "metrics") || self.positions.len() >= MOST => 0,
            None => {
                let position = self.handles.len();
                self.handles.push((self.make)(value));
                self.positions.insert(value.to_owned(), position);
                position
            }
        };
        &self.handles[position]
    }

    /// The value under which another one is counted: itself, or the one for all others.
    pub(crate) fn name<'a>(&mut self, value: &'a str) -> &'a str {
        self.of(value);
        if self.positions.contains_key(value) {
            value
        } else {
            OTHER
        }
    }
}

#[cfg(all(test, feature = "metrics"))]
mod tests {
    use super::*;

    #[test]
    fn values_beyond_the_limit_share_their_handles() {
        let mut labels = ByLabel::new(str::to_owned);
        for n in 0..MOST {
            let value = format!("/queue/{n}");
            assert_eq!(*labels.of(&value), value);
        }
        for value in ["/queue/a", "/queue/b"] {
            assert_eq!(*labels.of(value), OTHER);
            assert_eq!(labels.name(value), OTHER);
        }
        assert_eq!(*labels.of("/queue/7"), "/queue/7");
        assert_eq!(labels.name("/queue/7"), "/queue/7");
        assert_eq!(labels.handles.len(), MOST + 1);
    }
}
