//! The broker's ERROR frame as text.

use std::fmt;

use super::frame::Frame;
use super::redaction::Redaction;
use crate::broker::ErrorKind;

/// The maximum length of a text, in characters; ActiveMQ sends whole stack traces.
const MAXIMUM_TEXT: usize = 500;

/// An ERROR frame (STOMP 1.2, "ERROR").
///
/// Its texts are the broker's, on one line, without control characters, of bounded length, and
/// with our password replaced by `***`.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorFrame {
    /// The `message` header; empty if there is none.
    pub message: String,
    /// The body.
    pub body: String,
    /// The `receipt-id` header: the receipt of the frame at fault. RabbitMQ 3.10 never sends it.
    pub receipt_id: Option<String>,
    kind: ErrorKind,
}

impl ErrorFrame {
    pub(super) fn new(frame: &Frame, redaction: &Redaction) -> Self {
        let message = frame.header("message").unwrap_or_default();
        // A truncated text must not end with a part of the password, because only the whole
        // password is hidden. A character takes at most 4 bytes, and a truncated one leaves at most
        // 3.
        let end = redaction.longest() + 3;
        let part = frame.body.get(..4 * MAXIMUM_TEXT + end);
        let body = String::from_utf8_lossy(part.unwrap_or(&frame.body));
        let mut shown = redaction.hide(&body);
        if part.is_some() {
            shown.truncate(shown.floor_char_boundary(shown.len().saturating_sub(end)));
        }
        Self {
            // From the original text, which may contain the password.
            kind: ErrorKind::of(
                &flatten(message, MAXIMUM_TEXT),
                &flatten(&body, MAXIMUM_TEXT),
            ),
            // After the password was hidden: what is cut might leave a part of it.
            message: flatten(&redaction.hide(message), MAXIMUM_TEXT),
            body: flatten(&shown, MAXIMUM_TEXT),
            receipt_id: frame
                .header("receipt-id")
                .map(|id| flatten(&redaction.hide(id), MAXIMUM_TEXT)),
        }
    }

    /// The subject of the error, from the texts of RabbitMQ 3.10 and ActiveMQ 5.17.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for ErrorFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.message.as_str(), self.body.as_str()) {
            ("", "") => f.write_str("the broker's ERROR has no text")?,
            (text, "") | ("", text) => f.write_str(text)?,
            (message, body) => write!(f, "{message}: {body}")?,
        }
        f.write_str(self.kind().advice())
    }
}

impl fmt::Debug for ErrorFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorFrame")
            .field("message", &self.message)
            .field("body", &self.body)
            .field("receipt_id", &self.receipt_id)
            .finish()
    }
}

/// One line without control characters, cut after so many characters.
pub(super) fn flatten(text: &str, maximum: usize) -> String {
    let mut flat = String::new();
    let mut length = 0;
    for character in text.trim().chars() {
        if length == maximum {
            flat.push('\u{2026}');
            break;
        }
        let is_break = character.is_control() || matches!(character, '\u{2028}' | '\u{2029}');
        let character = if is_break { ' ' } else { character };
        if character == ' ' && flat.ends_with(' ') {
            continue;
        }
        flat.push(character);
        length += 1;
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_the_brokers_texts() {
        use ErrorKind::*;
        // The texts of RabbitMQ 3.10.8 and ActiveMQ 5.17.
        let cases = [
            (
                "Bad CONNECT",
                "Access refused for user 'shop'\n",
                RefusedLogin,
            ),
            ("Bad CONNECT", "non-loopback access denied", RefusedLogin),
            (
                "Bad CONNECT",
                "Virtual host 'nope' access denied",
                RefusedVirtualHost,
            ),
            (
                "User name [shop] or password is invalid.",
                "java.lang…",
                RefusedLogin,
            ),
            ("Processing error", "Processing error\n", Internal),
            (
                "Unknown destination",
                "'/foo/bar' is not a valid destination.\nValid destination types are: /queue.\n",
                RefusedDestination,
            ),
            (
                "Invalid destination",
                "'/temp-queue/a' is not a valid destination for 'SUBSCRIBE'\n",
                RefusedDestination,
            ),
            (
                "access_refused",
                "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'shop'",
                RefusedDestination,
            ),
            (
                "precondition_failed",
                "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/'",
                DeclaredOtherwise,
            ),
            (
                "precondition_failed",
                "PRECONDITION_FAILED - cannot declare queue 'q': queue limit in vhost '/' (1) is reached",
                TooManyQueues,
            ),
            (
                "precondition_failed",
                "PRECONDITION_FAILED - invalid expiration 'abc': {leftover_string,\"abc\"}",
                PreconditionFailed,
            ),
            (
                "precondition_failed",
                "PRECONDITION_FAILED - user_id property set to 'inequivalent arg ' but authenticated user was 'guest'",
                PreconditionFailed,
            ),
            (
                "precondition_failed",
                "PRECONDITION_FAILED - invalid arg 'x-dead-letter-exchange' for queue 'q' in vhost '/' of queue type \
                 rabbit_stream_queue",
                InvalidArgument,
            ),
            (
                "precondition_failed",
                "PRECONDITION_FAILED - message size 9 is larger than configured max size 8",
                MessageTooLarge,
            ),
            (
                "precondition_failed",
                "PRECONDITION_FAILED - unknown delivery tag 99",
                Other,
            ),
            (
                "precondition_failed",
                "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 60000 ms.",
                Other,
            ),
            (
                "not_found",
                "NOT_FOUND - no exchange 'nope' in vhost '/'",
                NotFound,
            ),
            (
                "Server cancelled subscription",
                "The server has canceled a subscription.\nNo more messages will be delivered",
                Cancelled,
            ),
            (
                "User shop is not authorized to write to: queue://a",
                "User shop is not authorized to write to: queue://a",
                RefusedDestination,
            ),
            ("", "", Other),
        ];
        for (message, body, kind) in cases {
            let frame = Frame::new("ERROR")
                .with("message", message)
                .with_body(body.as_bytes().to_vec());
            let error = ErrorFrame::new(&frame, &Redaction::default());
            assert_eq!(error.kind(), kind, "{error}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains('\n'), "{shown}");
        }
    }

    #[test]
    fn a_text_is_one_short_line() {
        let frame = Frame::new("ERROR")
            .with("message", "a\r\nb\u{1b}[31m\0c\u{2028}d")
            .with_body("\u{e9}".repeat(100_000).into_bytes());
        let shown = ErrorFrame::new(&frame, &Redaction::default()).to_string();
        assert!(shown.starts_with("a b [31m c d: \u{e9}"), "{shown}");
        assert!(shown.chars().count() < 600);
        let frame = Frame::new("ERROR").with_body(vec![0xff; 3000]);
        assert!(
            ErrorFrame::new(&frame, &Redaction::default())
                .body
                .chars()
                .count()
                <= 501
        );
    }

    #[test]
    fn a_truncated_password_does_not_show() {
        let password = "hunter2-of-the-shop";
        for before in 1900..2100 {
            // Spaces and stars take less space when they are shown.
            for filling in [" ", password] {
                let mut body = filling.repeat(before / filling.len());
                body.push_str(&"x".repeat(before % filling.len()));
                body.push_str(&password.repeat(10));
                let frame = Frame::new("ERROR").with_body(body.into_bytes());
                let error = ErrorFrame::new(&frame, &Redaction::new(password));
                assert!(!error.body.contains("hun"), "{before}: {}", error.body);
            }
        }
    }

    #[test]
    fn a_receipt_id_is_redacted_too() {
        let id = format!("hunter2\u{1b}{}", "x".repeat(1000));
        let frame = Frame::new("ERROR").with("receipt-id", id);
        let error = ErrorFrame::new(&frame, &Redaction::new("hunter2"));
        let shown = error.receipt_id.unwrap();
        assert!(shown.starts_with("*** xxx") && shown.chars().count() <= 501);
    }

    #[test]
    fn an_echoed_password_does_not_show() {
        let frame = Frame::new("ERROR")
            .with("message", "Bad CONNECT")
            .with_body("Access refused for user 'shop' with p\\\\w and p\\w");
        let error = ErrorFrame::new(&frame, &Redaction::new("p\\w"));
        assert_eq!(
            error.body,
            "Access refused for user 'shop' with *** and ***"
        );
        // The broker's words show the kind of error all the same.
        let error = ErrorFrame::new(&frame, &Redaction::new("Access"));
        assert_eq!(error.kind(), ErrorKind::RefusedLogin);
        assert!(!format!("{error} {error:?}").contains("Access"), "{error}");
    }
}
