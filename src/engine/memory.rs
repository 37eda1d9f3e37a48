//! The bytes of messages that a relay has in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes in use, and their limit.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    used: Arc<AtomicUsize>,
    limit: usize,
}

/// Bytes that are in use until this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    used: Arc<AtomicUsize>,
    bytes: usize,
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            used: Arc::default(),
            limit,
        }
    }

    /// Takes bytes even if there is no room for them.
    pub(crate) fn share(&self, bytes: usize) -> Share {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Share {
            used: Arc::clone(&self.used),
            bytes,
        }
    }

    /// Takes bytes if there is room for them, or if no others are in use.
    pub(crate) fn try_share(&self, bytes: usize) -> Option<Share> {
        let used = self.used.load(Ordering::Relaxed);
        (used == 0 || used.saturating_add(bytes) <= self.limit).then(|| self.share(bytes))
    }

    /// The number of free bytes.
    pub(crate) fn room(&self) -> usize {
        let used = self.used.load(Ordering::Relaxed);
        self.limit.saturating_sub(used)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.used.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_given_back_when_it_is_dropped() {
        let memory = Memory::new(10);
        let first = memory.try_share(20).unwrap();
        assert!(!memory.is_empty() && memory.room() == 0, "it is alone");
        assert!(memory.try_share(1).is_none());
        drop(first);
        assert!(memory.is_empty());
        let shares = [
            memory.try_share(6),
            memory.try_share(5),
            memory.try_share(4),
        ];
        assert!(shares[0].is_some() && shares[1].is_none() && shares[2].is_some());
        assert_eq!(memory.room(), 0);
    }
}
