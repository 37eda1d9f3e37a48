//! Which letters are meant, and how many were.

use std::time::Duration;

use chrono::Utc;

use super::Letter;

/// Which letters are meant. Whatever is not said fits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Choice {
    pub(crate) ids: Vec<String>,
    /// A part of the error.
    pub(crate) error: Option<String>,
    pub(crate) older_than: Option<Duration>,
    pub(crate) limit: Option<usize>,
    /// Whether those that could not be decoded as a whole are left where they are.
    pub(crate) only_whole: bool,
}

impl Choice {
    /// Whether the letter is meant, where so many were taken before it.
    fn takes(&self, letter: &Letter, before: usize) -> bool {
        self.limit.is_none_or(|limit| before < limit) && self.fits(letter)
    }

    fn fits(&self, letter: &Letter) -> bool {
        let age = |limit: Duration| {
            let age = letter.last().map(|last| Utc::now() - last);
            age.and_then(|age| age.to_std().ok())
                .is_some_and(|age| age > limit)
        };
        (self.ids.is_empty() || self.ids.contains(&letter.id))
            && self
                .error
                .as_ref()
                .is_none_or(|part| letter.error().contains(part))
            && self.older_than.is_none_or(age)
    }
}

/// What a reading found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// All letters.
    pub(crate) all: usize,
    /// Those that were chosen.
    pub(crate) chosen: usize,
    /// Those that would have been, and stay because they could not be decoded as a whole.
    pub(crate) left: usize,
}

impl Found {
    /// Counts a letter; whether it is chosen.
    pub(super) fn add(&mut self, letter: &Letter, choice: &Choice) -> bool {
        self.all += 1;
        let is_meant = choice.takes(letter, self.chosen);
        let is_left = is_meant && choice.only_whole && !letter.is_whole();
        self.left += usize::from(is_left);
        let is_chosen = is_meant && !is_left;
        self.chosen += usize::from(is_chosen);
        is_chosen
    }
}
