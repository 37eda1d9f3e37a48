//! Frames of ours as bytes.

use bytes::BytesMut;
use tokio_stomp_2::{AckMode, Message, ToServer};

use super::command::Content;
use super::dialect::Dialect;
use super::encoder::{EncodeError, encode};
use super::subscription::AckId;
use super::version::Version;

/// Appends a frame with its receipt; on an error nothing is appended.
pub(super) fn put(
    content: Content,
    receipt: u64,
    dialect: Dialect,
    dst: &mut BytesMut,
) -> Result<(), EncodeError> {
    let length = dst.len();
    let result = put_all(content, receipt, dialect, dst);
    if result.is_err() {
        dst.truncate(length);
    }
    result
}

fn put_all(
    content: Content,
    receipt: u64,
    dialect: Dialect,
    dst: &mut BytesMut,
) -> Result<(), EncodeError> {
    let receipt = receipt.to_string();
    match content {
        Content::Send(frame) => {
            let content = ToServer::Send {
                destination: frame.destination,
                transaction: None,
                headers: None,
                body: None,
            };
            let message = with(content, receipt, frame.headers);
            encode(&message, Some(&frame.body), dialect, dst)
        }
        Content::Subscribe { id, subscribe, .. } => {
            let content = ToServer::Subscribe {
                destination: subscribe.destination,
                id,
                ack: Some(AckMode::ClientIndividual),
            };
            let message = with(content, receipt, subscribe.headers);
            encode(&message, None, dialect, dst)
        }
        Content::Unsubscribe { id } => {
            let message = with(ToServer::Unsubscribe { id }, receipt, Vec::new());
            encode(&message, None, dialect, dst)
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
            encode(&message(content, headers), None, dialect, dst)
        }
        Content::Nack { id, requeue } => {
            let mut headers = of_subscription(&id, dialect);
            headers.push(("requeue".to_owned(), requeue.to_string()));
            let content = ToServer::Nack {
                id: id.id,
                transaction: None,
            };
            encode(&with(content, receipt, headers), None, dialect, dst)
        }
        Content::Ping { transaction } => {
            let begin = ToServer::Begin {
                transaction: transaction.clone(),
            };
            // A number that is not one, so that it never settles the ping by itself.
            let begin = with(begin, format!("{receipt}.begin"), Vec::new());
            encode(&begin, None, dialect, dst)?;
            let abort = with(ToServer::Abort { transaction }, receipt, Vec::new());
            encode(&abort, None, dialect, dst)
        }
        Content::Disconnect => {
            let content = ToServer::Disconnect {
                receipt: Some(receipt),
            };
            encode(&message(content, Vec::new()), None, dialect, dst)
        }
    }
}

/// STOMP 1.1, "ACK": an id is one of its subscription's. 1.0 needs no more than the id, and RabbitMQ
/// and ActiveMQ read this there too.
fn of_subscription(id: &AckId, dialect: Dialect) -> Vec<(String, String)> {
    match dialect.version() {
        Version::V1_0 | Version::V1_1 => {
            vec![("subscription".to_owned(), id.subscription.clone())]
        }
        Version::V1_2 => Vec::new(),
    }
}

/// The receipt comes first, so that it counts (STOMP 1.2, "Repeated Header Entries").
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
