//! Which dead letters are meant, and how many they were.

use std::time::Duration;

use chrono::Utc;

use super::DeadLetter;

/// Which dead letters are meant: those that meet all conditions. [`Selection::all`] has none.
///
/// ```
/// use diesel_outbox::admin::dead_letters::Selection;
/// use std::time::Duration;
///
/// let selection = Selection::all()
///     .error("timeout")
///     .older_than(Duration::from_secs(3600))
///     .limit(100);
/// # let _ = selection;
/// ```
#[derive(Debug, Clone, Default)]
pub struct Selection {
    ids: Vec<String>,
    error: Option<String>,
    older_than: Option<Duration>,
    limit: Option<usize>,
    /// Whether messages that could not be decoded completely are left where they are.
    is_complete: bool,
}

impl Selection {
    /// All messages.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The message with this id; if it is called several times, the messages with one of these ids.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.ids.push(id.into());
        self
    }

    /// Messages whose error contains this text.
    #[must_use]
    pub fn error(mut self, part: impl Into<String>) -> Self {
        self.error = Some(part.into());
        self
    }

    /// Messages whose last failure is longer ago; those without a time of it are not meant.
    #[must_use]
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }

    /// The first messages, up to this number.
    #[must_use]
    pub fn limit(mut self, messages: usize) -> Self {
        self.limit = Some(messages);
        self
    }

    /// Messages that can be sent back.
    pub(crate) fn complete(mut self) -> Self {
        self.is_complete = true;
        self
    }

    /// Whether the message meets the conditions, after `before` others that did.
    fn includes(&self, dead_letter: &DeadLetter, before: usize) -> bool {
        self.limit.is_none_or(|limit| before < limit) && self.fits(dead_letter)
    }

    fn fits(&self, dead_letter: &DeadLetter) -> bool {
        let is_older = |limit: Duration| {
            let age = dead_letter.failed_at().map(|time| Utc::now() - time);
            age.and_then(|age| age.to_std().ok())
                .is_some_and(|age| age > limit)
        };
        (self.ids.is_empty() || self.ids.iter().any(|id| id == dead_letter.id()))
            && self
                .error
                .as_ref()
                .is_none_or(|part| dead_letter.error().contains(part))
            && self.older_than.is_none_or(is_older)
    }
}

/// How many messages an operation found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// All messages in the queue.
    pub total: usize,
    /// Those that were selected: listed, sent back or deleted.
    pub selected: usize,
    /// Of the selected ones, those without a reason from a subscriber.
    pub without_reason: usize,
    /// Messages that were meant, and were not sent back because they could not be decoded completely.
    pub incomplete: usize,
}

impl Summary {
    /// Counts a message. Returns whether it is selected.
    pub(super) fn add(&mut self, dead_letter: &DeadLetter, selection: &Selection) -> bool {
        self.total += 1;
        let is_meant = selection.includes(dead_letter, self.selected);
        let is_left = is_meant && selection.is_complete && !dead_letter.is_complete();
        self.incomplete += usize::from(is_left);
        let is_selected = is_meant && !is_left;
        self.selected += usize::from(is_selected);
        self.without_reason += usize::from(is_selected && !dead_letter.has_reason());
        is_selected
    }
}
