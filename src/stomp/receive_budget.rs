//! The bytes of received messages that are not processed yet; reading stops while they exceed the
//! limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};

use super::subscription::Delivery;

/// The memory of a message beside its body and headers, in bytes.
const OVERHEAD: usize = 256;

/// Counts the bytes of unprocessed messages, for all subscriptions of a connection.
#[derive(Debug)]
pub(super) struct ReceiveBudget {
    bytes: AtomicUsize,
    limit: usize,
    has_room: Notify,
    is_full: Notify,
}

impl ReceiveBudget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            limit,
            has_room: Notify::new(),
            is_full: Notify::new(),
        })
    }

    /// Whether more may be read from the socket.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Acquire) <= self.limit
    }

    /// Resolves after bytes were released; may resolve early.
    pub(super) async fn freed(&self) {
        self.has_room.notified().await;
    }

    /// Resolves when the budget is used up and the socket is not read.
    pub(super) async fn full(&self) {
        loop {
            let changed = self.is_full.notified();
            if !self.has_room() {
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

    fn release(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if before > self.limit && before - bytes <= self.limit {
            // `notify_one` stores the notification if the connection does not wait yet.
            self.has_room.notify_one();
        }
    }
}

/// The connection's end of a subscription.
#[derive(Clone, Debug)]
pub(super) struct DeliverySender {
    sender: mpsc::UnboundedSender<Delivery>,
    budget: Arc<ReceiveBudget>,
}

/// The subscriber's end of a subscription.
#[derive(Debug)]
pub(super) struct DeliveryReceiver {
    receiver: mpsc::UnboundedReceiver<Delivery>,
    budget: Arc<ReceiveBudget>,
}

pub(super) fn channel(budget: &Arc<ReceiveBudget>) -> (DeliverySender, DeliveryReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let budget = budget.clone();
    let deliveries = DeliverySender {
        sender,
        budget: budget.clone(),
    };
    (deliveries, DeliveryReceiver { receiver, budget })
}

impl DeliverySender {
    /// Passes a message on; returns false if the subscription was dropped.
    pub(super) fn send(&self, delivery: Delivery) -> bool {
        let bytes = size(&delivery);
        self.budget.add(bytes);
        let is_wanted = self.sender.send(delivery).is_ok();
        if !is_wanted {
            self.budget.release(bytes);
        }
        is_wanted
    }

    /// Whether the subscription still exists.
    pub(super) fn is_wanted(&self) -> bool {
        !self.sender.is_closed()
    }
}

impl DeliveryReceiver {
    pub(super) async fn next(&mut self) -> Option<(Delivery, Kept)> {
        let delivery = self.receiver.recv().await?;
        let kept = Kept {
            bytes: size(&delivery),
            budget: Arc::clone(&self.budget),
        };
        Some((delivery, kept))
    }
}

/// Counts a message against the budget until this is dropped.
#[derive(Debug)]
pub(crate) struct Kept {
    budget: Arc<ReceiveBudget>,
    bytes: usize,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

impl Drop for DeliveryReceiver {
    fn drop(&mut self) {
        self.receiver.close();
        while let Ok(delivery) = self.receiver.try_recv() {
            self.budget.release(size(&delivery));
        }
    }
}

fn size(delivery: &Delivery) -> usize {
    delivery.body.len() + delivery.headers.size() + OVERHEAD
}
