//! What an operator can do about a refused row.

use crate::broker::destination::Destination;
use crate::stomp::{Error as StompError, ErrorKind};

/// What to do about a SEND that RabbitMQ refuses because it would declare the queue with other arguments.
/// Begins with a separator; empty if there is no advice.
pub(super) fn advice(error: &StompError, destination: &str) -> String {
    let has_other_arguments = error
        .error_frame()
        .is_some_and(|frame| frame.kind() == ErrorKind::PreconditionFailed);
    match Destination::parse(destination) {
        Destination::Queue(name) if has_other_arguments => format!(
            "; the queue was declared with arguments, as `subscribe` declares its queues: send to \
             /amq/queue/{name}, or to a topic"
        ),
        _ => String::new(),
    }
}
