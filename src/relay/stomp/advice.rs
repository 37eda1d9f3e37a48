//! What an operator can do about a refused row.

use crate::broker::MAX_FRAME;
use crate::broker::destination::Destination;
use crate::stomp::{Broker, Error as StompError, ErrorKind};

/// The length in bytes that a frame's headers may have.
const ROOM_FOR_HEADERS: usize = 64 << 10;

/// What to do about a SEND with a body of this length and so many headers that RabbitMQ refuses or at which it closes the
/// connection: it would declare the queue with other arguments, has a header that cannot be read, or its frame is too
/// long. Begins with a separator; empty if there is no advice.
pub(super) fn advice(
    error: &StompError,
    destination: &str,
    body_length: usize,
    header_count: usize,
) -> String {
    let Some(frame) = error.error_frame() else {
        let max_headers = Broker::ASSUMED.quirks().max_headers();
        return if max_headers.is_some_and(|most| header_count > most) {
            format!(
                "; the frame has {header_count} headers: from version 4.3 on RabbitMQ closes the connection at a \
                 frame with more than 100, unless `max_headers` of rabbitmq_stomp is set in advanced.config"
            )
        } else if body_length > MAX_FRAME - ROOM_FOR_HEADERS {
            format!(
                "; the body has {body_length} bytes: from version 4.0 on RabbitMQ closes the connection at a \
                 frame that is longer than its setting stomp.max_frame_size ({MAX_FRAME} bytes by default)"
            )
        } else {
            String::new()
        };
    };
    match (frame.kind(), Destination::parse(destination)) {
        (ErrorKind::DeclaredOtherwise, Destination::Queue(name)) => format!(
            "; the queue was declared with arguments, as `subscribe` declares its queues: send to \
             /amq/queue/{name}, or to a topic"
        ),
        (ErrorKind::Internal, _) => {
            "; RabbitMQ says only this of a header whose value it cannot read, such as a \
             `priority`, a `timestamp` or an `x-message-ttl` that is no number"
                .to_owned()
        }
        _ => String::new(),
    }
}
