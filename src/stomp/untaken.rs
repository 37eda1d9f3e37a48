//! Messages that nobody has taken yet, or that who took them keeps, and how many bytes they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};

use super::subscription::Delivery;

/// What a message costs beside its body and its headers.
const OVERHEAD: usize = 256;

/// The bytes of messages that wait, of all subscriptions of a connection.
#[derive(Debug)]
pub(super) struct Untaken {
    bytes: AtomicUsize,
    limit: usize,
    has_place: Notify,
    is_full: Notify,
}

impl Untaken {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            limit,
            has_place: Notify::new(),
            is_full: Notify::new(),
        })
    }

    /// Whether more may be read from the socket.
    pub(super) fn has_place(&self) -> bool {
        self.bytes.load(Ordering::Acquire) <= self.limit
    }

    /// Resolves when some were taken; it may do so early.
    pub(super) async fn place(&self) {
        self.has_place.notified().await;
    }

    /// Resolves when nothing more may be read from the socket.
    pub(super) async fn full(&self) {
        loop {
            let changed = self.is_full.notified();
            if !self.has_place() {
                return;
            }
            changed.await;
        }
    }

    fn add(&self, bytes: usize) {
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        if before <= self.limit && before + bytes > self.limit {
            self.is_full.notify_waiters();
        }
    }

    fn take(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if before > self.limit && before - bytes <= self.limit {
            // It is kept for a connection that does not wait yet.
            self.has_place.notify_one();
        }
    }
}

/// The connection's end of a subscription.
#[derive(Clone, Debug)]
pub(super) struct Deliveries {
    sender: mpsc::UnboundedSender<Delivery>,
    untaken: Arc<Untaken>,
}

/// The subscription's end.
#[derive(Debug)]
pub(super) struct Inbox {
    receiver: mpsc::UnboundedReceiver<Delivery>,
    untaken: Arc<Untaken>,
}

pub(super) fn channel(untaken: &Arc<Untaken>) -> (Deliveries, Inbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let untaken = untaken.clone();
    let deliveries = Deliveries {
        sender,
        untaken: untaken.clone(),
    };
    (deliveries, Inbox { receiver, untaken })
}

impl Deliveries {
    /// Hands a message over; false where the subscription was dropped.
    pub(super) fn send(&self, delivery: Delivery) -> bool {
        let bytes = size(&delivery);
        self.untaken.add(bytes);
        let is_wanted = self.sender.send(delivery).is_ok();
        if !is_wanted {
            self.untaken.take(bytes);
        }
        is_wanted
    }

    /// Whether the subscription is still there.
    pub(super) fn is_wanted(&self) -> bool {
        !self.sender.is_closed()
    }
}

impl Inbox {
    pub(super) async fn next(&mut self) -> Option<(Delivery, Kept)> {
        let delivery = self.receiver.recv().await?;
        let kept = Kept {
            bytes: size(&delivery),
            untaken: Arc::clone(&self.untaken),
        };
        Some((delivery, kept))
    }
}

/// A message counts as one that nobody has taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Kept {
    untaken: Arc<Untaken>,
    bytes: usize,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.untaken.take(self.bytes);
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.receiver.close();
        while let Ok(delivery) = self.receiver.try_recv() {
            self.untaken.take(size(&delivery));
        }
    }
}

fn size(delivery: &Delivery) -> usize {
    delivery.body.len() + delivery.headers.size() + OVERHEAD
}
