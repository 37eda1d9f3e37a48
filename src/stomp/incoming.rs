//! Processes the broker's frames.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::codec::Decoder as _;
use tracing::debug;

use super::connection::Connection;
use super::error::Error;
use super::error_frame::{ErrorFrame, flatten};
use super::frame::Frame;
use super::pending::Purpose;
use super::subscription::Delivery;
use crate::broker::ErrorKind;

/// How long the broker may take to close the connection after an ERROR (STOMP 1.2, "ERROR").
/// Receipts for earlier frames still count until then.
const GRACE_AFTER_ERROR: Duration = Duration::from_secs(2);

impl Connection {
    /// Processes the complete frames in the input buffer.
    pub(super) fn take_frames(&mut self) -> Result<(), Error> {
        while let Some(frame) = self.decoder.decode(&mut self.input)? {
            self.take_frame(frame)?;
        }
        Ok(())
    }

    fn take_frame(&mut self, frame: Frame) -> Result<(), Error> {
        if frame.command == "ERROR" {
            self.take_error(&frame);
            return Ok(());
        }
        if self.close_after_error.is_none() {
            // That ERROR named a receipt, and the connection continued.
            self.error_frame = None;
        }
        match frame.command.as_str() {
            "MESSAGE" => self.take_message(frame),
            "RECEIPT" => match frame.header("receipt-id") {
                Some(id) => {
                    self.take_receipt(id);
                    Ok(())
                }
                None => Err(Error::UnexpectedFrame {
                    command: "RECEIPT without receipt-id".to_owned(),
                }),
            },
            command => Err(Error::UnexpectedFrame {
                command: flatten(&self.redaction.hide(command), 40),
            }),
        }
    }

    fn take_message(&mut self, frame: Frame) -> Result<(), Error> {
        let mut delivery = Delivery::new(frame, self.id, self.dialect.version())?;
        if delivery.subscription.is_empty()
            && self.subscriptions.len() == 1
            && let Some(id) = self.subscriptions.keys().next()
        {
            // STOMP 1.0 does not require the header; only one subscription is possible.
            delivery.subscription.clone_from(id);
        }
        match self.subscriptions.get(&delivery.subscription) {
            Some(deliveries) => {
                if !deliveries.send(delivery) {
                    self.subscriptions
                        .retain(|_, deliveries| deliveries.is_wanted());
                }
            }
            None => debug!(
                message_id = flatten(&self.redaction.hide(&delivery.message_id), 200),
                "discarding a message of a subscription that has ended"
            ),
        }
        Ok(())
    }

    fn take_receipt(&mut self, id: &str) {
        // Ignore ids that are not numbers, repeated, late, or of a frame that the broker cannot
        // have.
        let number = id
            .parse()
            .ok()
            .filter(|number| self.pending.is_written(*number, self.output.written()));
        let Some(number) = number else {
            debug!(
                receipt = flatten(&self.redaction.hide(id), 40),
                "ignoring an unexpected receipt"
            );
            return;
        };
        // RabbitMQ 3.10 answers a SUBSCRIBE that failed with ERROR, then with its RECEIPT, and then
        // closes. After such an ERROR only receipts of SENDs count, which follow the queue's
        // confirm.
        if self.close_after_error.is_some() && self.pending.purpose(number) != Some(&Purpose::Send)
        {
            return;
        }
        let Some(entry) = self.pending.take(number) else {
            return;
        };
        match entry.answer(Ok(())) {
            Purpose::Unsubscribe(id) => {
                self.subscriptions.remove(&id);
            }
            Purpose::Disconnect => self.is_finished = true,
            Purpose::Send | Purpose::Subscribe(_) | Purpose::Other => {}
        }
    }

    fn take_error(&mut self, frame: &Frame) {
        let error = Arc::new(ErrorFrame::new(frame, &self.redaction));
        debug!(%error, receipt = error.receipt_id, "the broker sent ERROR");
        if let Some(id) = frame.header("subscription") {
            // RabbitMQ's "Server cancelled subscription".
            self.subscriptions.remove(id);
        }
        // The BEGIN of a ping has the receipt `<number>.begin`. Like a receipt, the ERROR may be
        // late, but cannot be about a frame that the broker cannot have.
        let number = frame
            .header("receipt-id")
            .and_then(|id| id.split('.').next()?.parse().ok())
            .filter(|number| {
                self.pending.was_given(*number)
                    && (!self.pending.contains(*number)
                        || self.pending.is_written(*number, self.output.written()))
            });
        if let Some(number) = number {
            if let Some(entry) = self.pending.take(number) {
                let purpose = entry.answer(Err(Error::ErrorFrame(error.clone())));
                self.forget(purpose);
            }
            // Kept in case the broker closes now.
            self.error_frame.get_or_insert(error);
        } else if self.close_after_error.is_none() {
            self.error_frame = Some(error);
            self.close_after_error = Some(Instant::now() + GRACE_AFTER_ERROR);
        } else if let Some(first) = &mut self.error_frame
            && first.kind() == ErrorKind::Internal
        {
            // RabbitMQ's second ERROR has the reason.
            *first = error;
        }
    }

    /// Undoes the state of a frame that failed.
    pub(super) fn forget(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Subscribe(id) => {
                self.subscriptions.remove(&id);
            }
            Purpose::Disconnect => self.is_finished = true,
            Purpose::Send | Purpose::Unsubscribe(_) | Purpose::Other => {}
        }
    }
}
