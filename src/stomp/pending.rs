//! Frames that wait for their receipts, each with a deadline.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::command::{Content, Responder};
use super::error::Error;

/// The longest duration added to an [`Instant`], to avoid overflow; practically forever.
pub(super) const FOREVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What to do when the frame's receipt arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Send,
    Subscribe(String),
    Unsubscribe(String),
    Disconnect,
    Other,
}

impl Purpose {
    fn of(content: &Content) -> Self {
        match content {
            Content::Send(_) => Self::Send,
            Content::Subscribe { id, .. } => Self::Subscribe(id.clone()),
            Content::Unsubscribe { id } | Content::UnsubscribeAndReturn { id, .. } => {
                Self::Unsubscribe(id.clone())
            }
            Content::Disconnect => Self::Disconnect,
            Content::Ack { .. } | Content::Nack { .. } | Content::Ping { .. } => Self::Other,
        }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) purpose: Purpose,
    responder: Option<Responder>,
    /// Where the frame begins and ends in the byte stream; `None` while it is queued.
    place: Option<(u64, u64)>,
}

impl Entry {
    pub(super) fn answer(self, result: Result<(), Error>) -> Purpose {
        if let Some(responder) = self.responder {
            // An error means that nobody waits for the receipt, which is allowed.
            let _ = responder.send(result);
        }
        self.purpose
    }

    /// Whether at least one byte of it is among the first `written` bytes of the stream.
    pub(super) fn is_written(&self, written: u64) -> bool {
        self.place.is_some_and(|(begin, _)| begin < written)
    }

    /// Whether all of it is among the first `written` bytes of the stream.
    pub(super) fn is_wholly_written(&self, written: u64) -> bool {
        self.place.is_some_and(|(_, end)| end <= written)
    }

    pub(super) fn is_encoded(&self) -> bool {
        self.place.is_some()
    }
}

/// The frames whose receipt has not arrived, by number; the number is the receipt's id.
#[derive(Debug)]
pub(super) struct Pending {
    timeout: Duration,
    next: u64,
    entries: HashMap<u64, Entry>,
    /// All frames have the same timeout, so the deadlines are in order. Entries of settled frames
    /// stay until they reach the front.
    deadlines: VecDeque<(Instant, u64)>,
}

impl Pending {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            next: 1,
            entries: HashMap::new(),
            deadlines: VecDeque::new(),
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Adds a frame, whose timeout begins now, and returns its number.
    pub(super) fn insert(
        &mut self,
        content: &Content,
        responder: Option<Responder>,
        now: Instant,
    ) -> u64 {
        let number = self.next;
        self.next += 1;
        let entry = Entry {
            purpose: Purpose::of(content),
            responder,
            place: None,
        };
        self.entries.insert(number, entry);
        self.deadlines
            .push_back((now + self.timeout.min(FOREVER), number));
        // One missing receipt must not keep the entries of all later frames.
        if self.deadlines.len() > 2 * self.entries.len() + 1024 {
            self.deadlines
                .retain(|(_, number)| self.entries.contains_key(number));
        }
        number
    }

    /// Whether this frame waits for its receipt and at least one byte of it was written.
    pub(super) fn is_written(&self, number: u64, written: u64) -> bool {
        self.entries
            .get(&number)
            .is_some_and(|entry| entry.is_written(written))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.entries.contains_key(&number)
    }

    /// Whether this number was assigned to a frame, settled or not.
    pub(super) fn was_given(&self, number: u64) -> bool {
        (1..self.next).contains(&number)
    }

    pub(super) fn purpose(&self, number: u64) -> Option<&Purpose> {
        self.entries.get(&number).map(|entry| &entry.purpose)
    }

    pub(super) fn encoded(&mut self, number: u64, begin: u64, end: u64) {
        if let Some(entry) = self.entries.get_mut(&number) {
            entry.place = Some((begin, end));
        }
    }

    pub(super) fn take(&mut self, number: u64) -> Option<Entry> {
        self.entries.remove(&number)
    }

    /// The next deadline of a frame that is not settled.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        while let Some((deadline, number)) = self.deadlines.front() {
            if self.entries.contains_key(number) {
                return Some(*deadline);
            }
            self.deadlines.pop_front();
        }
        None
    }

    /// Takes a frame whose timeout has passed.
    pub(super) fn take_expired(&mut self, now: Instant) -> Option<Entry> {
        if self.deadline()? > now {
            return None;
        }
        let (_, number) = self.deadlines.pop_front()?;
        self.entries.remove(&number)
    }

    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Entry> {
        self.deadlines.clear();
        self.entries.drain().map(|(_, entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_receipt_does_not_make_the_list_grow() {
        let mut pending = Pending::new(Duration::from_secs(30));
        let now = Instant::now();
        let lost = pending.insert(&Content::Disconnect, None, now);
        for _ in 0..100_000 {
            let number = pending.insert(&Content::Disconnect, None, now);
            pending.take(number);
        }
        assert!(pending.deadlines.len() < 2000);
        assert!(pending.take_expired(now).is_none());
        let later = now + Duration::from_secs(30);
        assert!(pending.contains(lost) && pending.take_expired(later).is_some());
        assert!(pending.take_expired(later).is_none() && pending.is_empty());
        assert!(pending.was_given(lost) && !pending.was_given(0));
    }

    #[test]
    fn a_very_long_timeout_does_not_overflow() {
        let mut pending = Pending::new(Duration::MAX);
        pending.insert(&Content::Disconnect, None, Instant::now());
    }
}
