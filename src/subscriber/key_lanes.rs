//! Which message is handled next: those of one lane one after another, lanes side by side.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// The place of a message that is being handled. Its lane stays taken until `free` is called.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    lane: Arc<str>,
    arrival: u64,
}

/// Waiting messages, in one lane for each key.
#[derive(Debug)]
pub(super) struct KeyLanes<J> {
    arrivals: u64,
    /// The first message of each lane in which none is being handled, by arrival.
    ready: BTreeMap<u64, (Arc<str>, J)>,
    /// Lanes in use, with the messages behind the first one.
    behind: HashMap<Arc<str>, VecDeque<(u64, J)>>,
    /// The number of messages in `behind`.
    waiting_behind: usize,
}

impl<J> KeyLanes<J> {
    pub(super) fn new() -> Self {
        Self {
            arrivals: 0,
            ready: BTreeMap::new(),
            behind: HashMap::new(),
            waiting_behind: 0,
        }
    }

    /// The number of waiting messages.
    pub(super) fn waiting(&self) -> usize {
        self.ready.len() + self.waiting_behind
    }

    /// Adds a message.
    pub(super) fn add(&mut self, lane: &str, job: J) {
        let arrival = self.arrivals;
        self.arrivals += 1;
        match self.behind.entry(Arc::from(lane)) {
            Entry::Occupied(mut lane) => {
                lane.get_mut().push_back((arrival, job));
                self.waiting_behind += 1;
            }
            Entry::Vacant(lane) => {
                self.ready.insert(arrival, (Arc::clone(lane.key()), job));
                lane.insert(VecDeque::new());
            }
        }
    }

    /// Takes the oldest message that may be handled.
    pub(super) fn next(&mut self) -> Option<(Ticket, J)> {
        let (arrival, (lane, job)) = self.ready.pop_first()?;
        Some((Ticket { lane, arrival }, job))
    }

    /// Puts a message back to be handled again, before those that arrived after it.
    pub(super) fn put_back(&mut self, ticket: Ticket, job: J) {
        self.ready.insert(ticket.arrival, (ticket.lane, job));
    }

    /// Ends the handling of a message: the next one of its lane may be handled.
    pub(super) fn free(&mut self, ticket: &Ticket) {
        let next = self
            .behind
            .get_mut(&ticket.lane)
            .and_then(VecDeque::pop_front);
        match next {
            Some((arrival, job)) => {
                self.waiting_behind -= 1;
                self.ready.insert(arrival, (Arc::clone(&ticket.lane), job));
            }
            None => {
                self.behind.remove(&ticket.lane);
            }
        }
    }

    /// Removes all waiting messages and returns them by arrival. Lanes in which a message is being handled stay taken.
    pub(super) fn drain(&mut self) -> Vec<J> {
        let mut waiting = Vec::new();
        for (arrival, (lane, job)) in std::mem::take(&mut self.ready) {
            waiting.push((arrival, job));
            waiting.extend(self.behind.remove(&lane).unwrap_or_default());
        }
        let taken = self.behind.values_mut();
        waiting.extend(taken.flat_map(|lane| lane.drain(..)));
        self.waiting_behind = 0;
        waiting.sort_by_key(|(arrival, _)| *arrival);
        waiting.into_iter().map(|(_, job)| job).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_has_one_at_a_time_and_others_pass_it_by() {
        let mut lanes = KeyLanes::new();
        for (lane, job) in [("a", 1), ("a", 2), ("b", 3), ("a", 4)] {
            lanes.add(lane, job);
        }
        assert_eq!(lanes.waiting(), 4);
        let (first, job) = lanes.next().unwrap();
        assert_eq!(job, 1);
        let (other, job) = lanes.next().unwrap();
        assert_eq!(job, 3);
        assert!(lanes.next().is_none());
        assert_eq!(lanes.waiting(), 2);
        lanes.free(&other);
        lanes.put_back(first, 1);
        lanes.add("b", 5);
        let (first, job) = lanes.next().unwrap();
        assert_eq!(job, 1, "it came before");
        lanes.free(&first);
        let order: Vec<i32> = std::iter::from_fn(|| {
            let (ticket, job) = lanes.next()?;
            lanes.free(&ticket);
            Some(job)
        })
        .collect();
        assert_eq!(order, [2, 4, 5]);
        assert_eq!(lanes.waiting(), 0);
        assert!(lanes.behind.is_empty(), "a lane that is not used is gone");
    }

    #[test]
    fn what_is_being_handled_keeps_its_lane_when_the_rest_is_dropped() {
        let mut lanes = KeyLanes::new();
        for (lane, job) in [("a", 1), ("b", 2), ("a", 3), ("b", 4)] {
            lanes.add(lane, job);
        }
        let (first, _) = lanes.next().unwrap();
        assert_eq!(lanes.drain(), [2, 3, 4]);
        assert_eq!(lanes.waiting(), 0);
        assert!(lanes.next().is_none());
        // They are delivered again.
        lanes.add("a", 2);
        lanes.add("b", 3);
        let (_, job) = lanes.next().unwrap();
        assert_eq!(job, 3);
        assert!(lanes.next().is_none(), "the lane is taken");
        lanes.free(&first);
        assert_eq!(lanes.next().unwrap().1, 2);
    }
}
