//! Frames that wait for their transaction's COMMIT.

use crate::stomp::codec::Frame;

use super::Core;
use super::delivery::Answered;
use super::refusal::{Refusal, missing};

/// What happens at COMMIT.
#[derive(Debug)]
pub(super) enum Postponed {
    Send(Frame),
    Answer(Answered),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Begin,
    Commit,
    Abort,
}

impl Core {
    pub(super) fn transaction(
        &mut self,
        number: u64,
        frame: &Frame,
        step: Step,
    ) -> Result<(), Option<Refusal>> {
        let Some(name) = frame.header("transaction") else {
            return Err(Some(missing(
                "Missing transaction",
                &frame.command,
                "a 'transaction' header",
            )));
        };
        let bad = || Some(unknown(name));
        let connection = self.connections.get_mut(&number).ok_or(None)?;
        let transactions = &mut connection.transactions;
        match step {
            // A second BEGIN starts the transaction again.
            Step::Begin => {
                transactions.insert(name.to_owned(), Vec::new());
                Ok(())
            }
            Step::Abort => transactions.remove(name).map(drop).ok_or_else(bad),
            Step::Commit => {
                for postponed in transactions.remove(name).ok_or_else(bad)? {
                    match postponed {
                        Postponed::Send(mut frame) => {
                            let headers = frame.headers.iter();
                            frame.headers = headers
                                .filter(|(name, _)| !matches!(*name, "transaction" | "receipt"))
                                .collect();
                            self.handle_frame(number, frame)?;
                        }
                        Postponed::Answer(answered) => {
                            self.answer(number, &answered).map_err(Some)?;
                        }
                    }
                }
                Ok(())
            }
        }
    }

    pub(super) fn postpone(
        &mut self,
        number: u64,
        name: &str,
        frame: Frame,
    ) -> Result<(), Option<Refusal>> {
        let postponed = match frame.command.as_str() {
            "SEND" => Postponed::Send(frame),
            // RabbitMQ looks for the subscription now, and not at COMMIT.
            _ => Postponed::Answer(self.answered(number, &frame)?),
        };
        let connection = self.connections.get_mut(&number).ok_or(None)?;
        match connection.transactions.get_mut(name) {
            Some(all) => {
                all.push(postponed);
                Ok(())
            }
            None => Err(Some(unknown(name))),
        }
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::harmless(
        "Bad transaction",
        format!("Invalid transaction identifier: {name:?}\n"),
    )
}
