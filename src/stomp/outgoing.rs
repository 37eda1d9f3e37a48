//! Encodes the client's frames.

use bytes::BytesMut;
use tokio_stomp_2::{AckMode, Message, ToServer};

use super::command::{Checked, Content};
use super::dialect::Dialect;
use super::encoder;
use super::subscription::AckId;
use super::version::Version;

/// Appends a frame with its receipt. `dialect` is that of the check.
pub(super) fn put(frame: Checked, receipt: u64, dialect: Dialect, dst: &mut BytesMut) {
    let receipt = receipt.to_string();
    match frame.into_content() {
        Content::Send(frame) => {
            let content = ToServer::Send {
                destination: frame.destination,
                transaction: None,
                headers: None,
                body: None,
            };
            let message = with(content, receipt, frame.headers);
            encoder::put(&message, Some(&frame.body), dialect, dst);
        }
        Content::Subscribe { id, subscribe, .. } => {
            let content = ToServer::Subscribe {
                destination: subscribe.destination,
                id,
                ack: Some(AckMode::ClientIndividual),
            };
            let message = with(content, receipt, subscribe.headers);
            encoder::put(&message, None, dialect, dst);
        }
        Content::Unsubscribe { id } => {
            let message = with(ToServer::Unsubscribe { id }, receipt, Vec::new());
            encoder::put(&message, None, dialect, dst);
        }
        Content::UnsubscribeAndReturn { id, returned } => {
            let transaction = format!("return-{id}");
            let begin = ToServer::Begin {
                transaction: transaction.clone(),
            };
            encoder::put(&message(begin, Vec::new()), None, dialect, dst);
            for ack in returned {
                let mut headers = of_subscription(&ack, dialect);
                headers.push(("requeue".to_owned(), true.to_string()));
                let content = ToServer::Nack {
                    id: ack.id,
                    transaction: Some(transaction.clone()),
                };
                encoder::put(&message(content, headers), None, dialect, dst);
            }
            let end = ToServer::Unsubscribe { id };
            encoder::put(&message(end, Vec::new()), None, dialect, dst);
            let commit = ToServer::Commit { transaction };
            encoder::put(&with(commit, receipt, Vec::new()), None, dialect, dst);
        }
        Content::Ack { id, is_confirmed } => {
            let mut headers = of_subscription(&id, dialect);
            if is_confirmed {
                headers.push(("receipt".to_owned(), receipt));
            }
            let content = ToServer::Ack {
                id: id.id,
                transaction: None,
            };
            encoder::put(&message(content, headers), None, dialect, dst);
        }
        Content::Nack { id, requeue } => {
            let mut headers = of_subscription(&id, dialect);
            headers.push(("requeue".to_owned(), requeue.to_string()));
            let content = ToServer::Nack {
                id: id.id,
                transaction: None,
            };
            encoder::put(&with(content, receipt, headers), None, dialect, dst);
        }
        Content::Ping { transaction } => {
            let begin = ToServer::Begin {
                transaction: transaction.clone(),
            };
            // Not a number, so that the receipt of BEGIN does not complete the ping.
            let begin = with(begin, format!("{receipt}.begin"), Vec::new());
            encoder::put(&begin, None, dialect, dst);
            let abort = with(ToServer::Abort { transaction }, receipt, Vec::new());
            encoder::put(&abort, None, dialect, dst);
        }
        Content::Disconnect => {
            let content = ToServer::Disconnect {
                receipt: Some(receipt),
            };
            encoder::put(&message(content, Vec::new()), None, dialect, dst);
        }
    }
}

/// The subscription's header for ACK and NACK. In STOMP 1.1 an id is unique only within its
/// subscription (STOMP 1.1, "ACK"). 1.0 requires only the id; RabbitMQ and ActiveMQ accept the
/// header there too.
fn of_subscription(id: &AckId, dialect: Dialect) -> Vec<(String, String)> {
    match dialect.version() {
        Version::V1_0 | Version::V1_1 => {
            vec![("subscription".to_owned(), id.subscription.clone())]
        }
        Version::V1_2 => Vec::new(),
    }
}

/// Adds the receipt as the first header, which is the one that counts (STOMP 1.2, "Repeated Header
/// Entries").
fn with(
    content: ToServer,
    receipt: String,
    mut headers: Vec<(String, String)>,
) -> Message<ToServer> {
    headers.insert(0, ("receipt".to_owned(), receipt));
    message(content, headers)
}

fn message(content: ToServer, headers: Vec<(String, String)>) -> Message<ToServer> {
    Message {
        content,
        extra_headers: headers
            .into_iter()
            .map(|(name, value)| (name.into_bytes(), value.into_bytes()))
            .collect(),
    }
}
