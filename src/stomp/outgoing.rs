//! Frames of ours as bytes.

use bytes::BytesMut;
use tokio_stomp_2::{AckMode, Message, ToServer};

use super::command::Content;
use super::encoder::{EncodeError, encode};

/// What the client sets itself.
const OF_SEND: &[&str] = &["destination", "receipt", "content-length"];
const OF_SUBSCRIBE: &[&str] = &["destination", "receipt", "content-length", "id", "ack"];

/// Appends a frame with its receipt; on an error nothing is appended.
pub(super) fn put(content: Content, receipt: u64, dst: &mut BytesMut) -> Result<(), EncodeError> {
    let length = dst.len();
    let result = put_all(content, receipt, dst);
    if result.is_err() {
        dst.truncate(length);
    }
    result
}

fn put_all(content: Content, receipt: u64, dst: &mut BytesMut) -> Result<(), EncodeError> {
    let receipt = receipt.to_string();
    match content {
        Content::Send(frame) => {
            let content = ToServer::Send {
                destination: frame.destination,
                transaction: None,
                headers: None,
                body: None,
            };
            let message = with(content, receipt, frame.headers, OF_SEND);
            encode(message, Some(&frame.body), dst)
        }
        Content::Subscribe { id, subscribe, .. } => {
            let content = ToServer::Subscribe {
                destination: subscribe.destination,
                id,
                ack: Some(AckMode::ClientIndividual),
            };
            let message = with(content, receipt, subscribe.headers, OF_SUBSCRIBE);
            encode(message, None, dst)
        }
        Content::Unsubscribe { id } => put_plain(ToServer::Unsubscribe { id }, receipt, dst),
        Content::Ack { id, is_confirmed } => {
            let transaction = None;
            let content = ToServer::Ack { id, transaction };
            if is_confirmed {
                put_plain(content, receipt, dst)
            } else {
                let extra_headers = Vec::new();
                let message = Message {
                    content,
                    extra_headers,
                };
                encode(message, None, dst)
            }
        }
        Content::Nack { id, requeue } => {
            let transaction = None;
            let content = ToServer::Nack { id, transaction };
            let header = ("requeue".to_owned(), requeue.to_string());
            encode(with(content, receipt, vec![header], &[]), None, dst)
        }
        Content::Ping { transaction } => {
            let begin = ToServer::Begin {
                transaction: transaction.clone(),
            };
            // A number that is not one, so that it never settles the ping by itself.
            put_plain(begin, format!("{receipt}.begin"), dst)?;
            put_plain(ToServer::Abort { transaction }, receipt, dst)
        }
        Content::Disconnect => {
            let receipt = Some(receipt);
            let message = Message {
                content: ToServer::Disconnect { receipt },
                extra_headers: Vec::new(),
            };
            encode(message, None, dst)
        }
    }
}

fn put_plain(content: ToServer, receipt: String, dst: &mut BytesMut) -> Result<(), EncodeError> {
    encode(with(content, receipt, Vec::new(), &[]), None, dst)
}

/// The receipt comes first, so that it counts (STOMP 1.2, "Repeated Header Entries").
fn with(
    content: ToServer,
    receipt: String,
    headers: Vec<(String, String)>,
    ours: &[&str],
) -> Message<ToServer> {
    let theirs = headers
        .into_iter()
        .filter(|(name, _)| !ours.contains(&name.as_str()))
        .map(|(name, value)| (name.into_bytes(), value.into_bytes()));
    Message {
        content,
        extra_headers: std::iter::once((b"receipt".to_vec(), receipt.into_bytes()))
            .chain(theirs)
            .collect(),
    }
}
