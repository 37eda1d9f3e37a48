//! What an ended attempt means for its message: an acknowledgement, another attempt, a dead letter, or
//! a redelivery.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::attempt::Attempt;
use super::engine::Engine;
use super::job::Taken;
use super::key_lanes::Ticket;
use super::monitor::Handled;
use crate::backend::Backend;
use crate::error::BoxError;
use crate::error_text::{chain, whole};
use crate::headers::MSG_SENT_TIME;
use crate::metrics::DeadCause;
use crate::stomp::Client;
use crate::stomp::defect::listed;

/// When a message was written, by its header.
fn written(taken: &Taken) -> Option<DateTime<Utc>> {
    // Django writes a space instead of the T.
    taken.job.payload.header(MSG_SENT_TIME)?.parse().ok()
}

impl<C: Backend> Engine<'_, C> {
    /// Processes the end of an attempt. Without a `client` there is no connection, or we stop waiting for
    /// one: the broker redelivers what is not acknowledged.
    pub(super) fn ended(&mut self, mut taken: Taken, attempt: Attempt, client: Option<&Client>) {
        self.is_alone = false;
        let is_stale = taken.job.session != self.session;
        if is_stale {
            self.stale = self.stale.saturating_sub(1);
        }
        // A message can be answered on its own connection only.
        let client = client.filter(|_| !is_stale);
        let id = taken.job.payload.msg_id();
        if !matches!(attempt, Attempt::Unavailable(_)) {
            self.database_works();
        }
        match attempt {
            Attempt::Done => {
                tracing::debug!(id, "done");
                self.monitor.handled(Handled::Done);
                self.metrics.done(written(&taken), taken.job.arrived);
                return self.acknowledge(&taken, client);
            }
            Attempt::Duplicate => {
                tracing::info!(id, "received before; acknowledged without a second effect");
                self.monitor.handled(Handled::Duplicate);
                self.metrics.duplicate();
                return self.acknowledge(&taken, client);
            }
            Attempt::Discarded(reason) => {
                if client.is_some() {
                    tracing::warn!(id, reason, "discarded; it goes to the dead letters");
                    self.monitor.handled(Handled::Discarded);
                    self.metrics.dead(DeadCause::Discarded);
                }
                return self.move_to_dead_letters(taken, &format!("discarded: {reason}"), client);
            }
            Attempt::Failed {
                error,
                is_permanent,
            } => return self.failed(taken, &error, is_permanent, client),
            Attempt::CrashLimit(times) => {
                let reason = format!(
                    "it was redelivered, and {times} attempts at it ended with the process that made them"
                );
                if client.is_some() {
                    tracing::error!(
                        id,
                        times,
                        "attempts at the message ended with their processes; no further attempt; it goes \
                         to the dead letters"
                    );
                    self.monitor.handled(Handled::Dead);
                    self.metrics.dead(DeadCause::Crashed);
                }
                return self.move_to_dead_letters(taken, &reason, client);
            }
            Attempt::Suspect => {
                if client.is_some() && !self.is_stopping {
                    self.suspects.push_back(taken);
                    return;
                }
            }
            Attempt::NotStarted => {}
            Attempt::Contended(error) => {
                let error = chain(&error);
                self.metrics.database_errors.contention();
                match taken.job.retries.contended(std::time::Instant::now()) {
                    Some(time) => tracing::warn!(
                        id,
                        error,
                        since = %(Utc::now() - time),
                        "other transactions have blocked this message for long; it is tried again until \
                         they end"
                    ),
                    None => {
                        tracing::debug!(
                            id,
                            error,
                            "another transaction was in the way; trying again"
                        );
                    }
                }
                let pause = taken.job.retries.short_pause();
                return self.pause(taken, pause, client);
            }
            Attempt::Lost(error) => {
                let error = chain(&error);
                tracing::warn!(
                    id,
                    error,
                    "the database fails for this message and works for others; trying again"
                );
                self.monitor.error(&error);
                self.metrics.database_errors.connection();
                let pause = taken.job.retries.lost(self.settings);
                return self.pause(taken, pause, client);
            }
            Attempt::Unavailable(error) => {
                self.monitor.error(&chain(&error));
                self.metrics.database_errors.connection();
                if self.next_check.is_none() && self.check.is_none() {
                    self.next_check =
                        Some(Instant::now() + self.outage.pause_after(error.as_ref()));
                }
                return self.pause(taken, Duration::ZERO, client);
            }
        }
        self.give_back(&taken, client);
    }

    /// The broker redelivers the message.
    fn give_back(&mut self, taken: &Taken, client: Option<&Client>) {
        if client.is_some() && self.is_stopping {
            // Before those behind it that never ran.
            self.waiting_at_stop.insert(0, taken.job.delivery.stub());
        }
        self.key_lanes.free(&taken.ticket);
    }

    /// The callback has failed by itself: another attempt, or the dead letters.
    fn failed(
        &mut self,
        mut taken: Taken,
        error: &BoxError,
        is_permanent: bool,
        client: Option<&Client>,
    ) {
        taken.job.retries.failed();
        let failures = taken.job.retries.failures;
        let id = taken.job.payload.msg_id();
        let with_values = whole(error);
        let error = chain(error);
        self.monitor.error(&error);
        if with_values != error {
            tracing::debug!(id, error = with_values, "the next error with its values");
        }
        if is_permanent || failures >= self.settings.attempts {
            if client.is_some() {
                tracing::error!(
                    id,
                    attempts = failures,
                    error,
                    "the callback failed; no further attempt; it goes to the dead letters"
                );
                self.monitor.handled(Handled::Dead);
                self.metrics.dead(DeadCause::Failed);
            }
            return self.move_to_dead_letters(taken, &error, client);
        }
        tracing::warn!(
            id,
            attempt = failures,
            error,
            "the callback failed; it is called again"
        );
        let pause = taken.job.retries.pause(self.settings);
        self.pause(taken, pause, client);
    }

    /// Tries the message again after the pause. If its connection has ended, or we stop, the broker
    /// redelivers it.
    fn pause(&mut self, taken: Taken, pause: Duration, client: Option<&Client>) {
        if client.is_none() || self.is_stopping {
            return self.give_back(&taken, client);
        }
        self.pauses += 1;
        self.pausing
            .insert((Instant::now() + pause, self.pauses), taken);
    }

    /// The next message of its lane may run, because the inbox has this one, whatever becomes of the ACK.
    fn acknowledge(&mut self, taken: &Taken, client: Option<&Client>) {
        self.key_lanes.free(&taken.ticket);
        if let Some(client) = client {
            // At a stop we wait until the broker has the ACK.
            let is_confirmed = self.is_stopping;
            self.acks
                .acknowledge(client, &taken.job.delivery, is_confirmed);
        }
    }

    /// Moves the message to the dead letters, or does what `dead_letter` says instead.
    fn move_to_dead_letters(&mut self, taken: Taken, reason: &str, client: Option<&Client>) {
        match client {
            None => self.key_lanes.free(&taken.ticket),
            Some(client) => {
                let crash_count = self.worker_pool.crash_count().clone();
                self.acks
                    .move_to_dead_letters(client, taken, reason, self.settings, crash_count);
            }
        }
    }

    /// The same for a message that could not be decoded as a whole: no callback may take it for what its
    /// sender has sent.
    pub(super) fn move_unreadable(&mut self, taken: Taken, client: &Client) {
        let defects = listed(taken.job.delivery.defects());
        let reason = format!("the message cannot be read: {defects}");
        tracing::error!(
            id = taken.job.payload.msg_id(),
            defects,
            "a message cannot be read; no callback is called; it goes to the dead letters"
        );
        self.monitor.error(&reason);
        self.monitor.handled(Handled::Dead);
        self.metrics.dead(DeadCause::Unreadable);
        self.move_to_dead_letters(taken, &reason, Some(client));
    }

    /// The answer to a message is done; the next message of its lane may run.
    pub(super) fn answered(&mut self, lane: Option<Ticket>) {
        if let Some(ticket) = lane {
            self.key_lanes.free(&ticket);
        }
    }
}
