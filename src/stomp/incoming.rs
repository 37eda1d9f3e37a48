//! What the broker's frames do to the connection.

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

/// How long the broker may take to close the connection after an ERROR (STOMP 1.2, "ERROR"). The
/// receipts of frames that it had before are still taken meanwhile.
const GRACE_AFTER_ERROR: Duration = Duration::from_secs(2);

impl Connection {
    /// Takes the whole frames out of what was read.
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
            // It named a receipt, and the connection went on.
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
                command: flatten(&self.mask.hide(command), 40),
            }),
        }
    }

    fn take_message(&mut self, frame: Frame) -> Result<(), Error> {
        let mut delivery = Delivery::new(frame, self.id, self.dialect.version())?;
        if delivery.subscription.is_empty()
            && self.subscriptions.len() == 1
            && let Some(id) = self.subscriptions.keys().next()
        {
            // STOMP 1.0: there is nothing to choose from.
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
                message_id = flatten(&self.mask.hide(&delivery.message_id), 200),
                "a message for a subscription that has ended"
            ),
        }
        Ok(())
    }

    fn take_receipt(&mut self, id: &str) {
        // Not a number of ours, twice, late, or of a frame that the broker cannot have.
        let number = id
            .parse()
            .ok()
            .filter(|number| self.pending.is_written(*number, self.output.written()));
        let Some(number) = number else {
            debug!(
                receipt = flatten(&self.mask.hide(id), 40),
                "nobody waits for this receipt"
            );
            return;
        };
        // RabbitMQ 3.10 answers a SUBSCRIBE that failed with ERROR, then with its RECEIPT, then
        // closes. Only a SEND's receipt, which is the queue's confirm, is to be trusted then.
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
            Purpose::Disconnect => self.is_over = true,
            Purpose::Send | Purpose::Subscribe(_) | Purpose::Other => {}
        }
    }

    fn take_error(&mut self, frame: &Frame) {
        let error = Arc::new(ErrorFrame::new(frame, &self.mask));
        debug!(%error, receipt = error.receipt_id, "the broker sent ERROR");
        if let Some(id) = frame.header("subscription") {
            // RabbitMQ's "Server cancelled subscription".
            self.subscriptions.remove(id);
        }
        // The BEGIN of a ping is `<number>.begin`. As with a receipt, it may be late, but not of a
        // frame that the broker cannot have.
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
            // In case that the broker closes now.
            self.error_frame.get_or_insert(error);
        } else if self.close_after_error.is_none() {
            self.error_frame = Some(error);
            self.close_after_error = Some(Instant::now() + GRACE_AFTER_ERROR);
        }
    }

    /// Undoes what a frame that failed had begun.
    pub(super) fn forget(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Subscribe(id) => {
                self.subscriptions.remove(&id);
            }
            Purpose::Disconnect => self.is_over = true,
            Purpose::Send | Purpose::Unsubscribe(_) | Purpose::Other => {}
        }
    }
}
