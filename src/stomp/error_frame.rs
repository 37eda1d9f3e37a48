//! An ERROR frame of the broker, in words.

use std::fmt;

use super::frame::Frame;
use super::mask::Mask;

/// What the broker says is kept up to here, in characters; ActiveMQ sends whole stack traces.
const MAXIMUM_TEXT: usize = 500;

/// An ERROR frame (STOMP 1.2, "ERROR").
///
/// Its texts are the broker's, on one line, without control characters, of bounded length, and
/// with the user's name and our password replaced by `***`.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorFrame {
    /// The `message` header, empty where there is none.
    pub message: String,
    /// The body.
    pub body: String,
    /// The `receipt-id` header: the receipt of the frame that is at fault. RabbitMQ 3.10 never
    /// sends it.
    pub receipt_id: Option<String>,
    kind: ErrorKind,
}

/// What an ERROR is about, as far as its text tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The user or the password was refused.
    RefusedLogin,
    /// The virtual host does not exist, or this user may not enter it.
    RefusedVirtualHost,
    /// The broker does not understand a destination, or does not permit it.
    RefusedDestination,
    /// A queue exists with other arguments than those asked for.
    PreconditionFailed,
    /// An exchange or a queue does not exist.
    NotFound,
    /// Another connection has the client id, as ActiveMQ calls what a durable subscription belongs
    /// to.
    ClientIdInUse,
    /// The broker ended a subscription, mostly because its queue was deleted.
    Cancelled,
    /// Anything else.
    Other,
}

impl ErrorFrame {
    pub(super) fn new(frame: &Frame, mask: &Mask) -> Self {
        let message = frame.header("message").unwrap_or_default();
        // A cut one must not end with a part of the password, which is hidden only as a whole. A
        // character takes four bytes at most, and what is left of a cut one three.
        let end = mask.longest() + 3;
        let part = frame.body.get(..4 * MAXIMUM_TEXT + end);
        let body = String::from_utf8_lossy(part.unwrap_or(&frame.body));
        let mut shown = mask.hide(&body);
        if part.is_some() {
            shown.truncate(shown.floor_char_boundary(shown.len().saturating_sub(end)));
        }
        Self {
            // Of the broker's own words, which may hold the password's.
            kind: kind(
                &flatten(message, MAXIMUM_TEXT),
                &flatten(&body, MAXIMUM_TEXT),
            ),
            message: clean(&mask.hide(message)),
            body: clean(&shown),
            receipt_id: frame
                .header("receipt-id")
                .map(|id| flatten(&mask.hide(id), MAXIMUM_TEXT)),
        }
    }

    /// What the error is about, by the texts of RabbitMQ 3.10 and ActiveMQ 5.17.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

fn kind(message: &str, body: &str) -> ErrorKind {
    let message = message.to_ascii_lowercase();
    let body = body.to_ascii_lowercase();
    let either = |text: &str| message.contains(text) || body.contains(text);
    if body.starts_with("virtual host") {
        ErrorKind::RefusedVirtualHost
    } else if body.starts_with("access refused for user")
        || body.contains("non-loopback access denied")
        || body.contains("missing login or passcode")
        || either("or password is invalid")
    {
        ErrorKind::RefusedLogin
    } else if message.contains(" already connected from ") {
        ErrorKind::ClientIdInUse
    } else if message == "precondition_failed" && !body.contains("delivery tag") {
        ErrorKind::PreconditionFailed
    } else if message == "not_found" {
        ErrorKind::NotFound
    } else if message == "server cancelled subscription" {
        ErrorKind::Cancelled
    } else if matches!(
        message.as_str(),
        "unknown destination" | "invalid destination" | "access_refused"
    ) || either("is not a valid destination")
        || either("not authorized to")
    {
        ErrorKind::RefusedDestination
    } else {
        ErrorKind::Other
    }
}

impl fmt::Display for ErrorFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.message.as_str(), self.body.as_str()) {
            ("", "") => f.write_str("the broker's ERROR says nothing")?,
            (text, "") | ("", text) => f.write_str(text)?,
            (message, body) => write!(f, "{message}: {body}")?,
        }
        f.write_str(match self.kind() {
            ErrorKind::RefusedLogin => " (check the user and the password in STOMP_URL)",
            ErrorKind::RefusedVirtualHost => {
                " (check the virtual host, which is the path of STOMP_URL)"
            }
            ErrorKind::PreconditionFailed => {
                " (the queue exists with other arguments: delete it, or use the same ones)"
            }
            ErrorKind::ClientIdInUse => {
                " (another subscriber has this queue of this topic, and ActiveMQ lets in one at a \
                 time: this one waits for its turn; for several, use a virtual topic)"
            }
            ErrorKind::RefusedDestination
            | ErrorKind::NotFound
            | ErrorKind::Cancelled
            | ErrorKind::Other => "",
        })
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

/// A text without the password, and now without the user's name.
fn clean(text: &str) -> String {
    // After the password was hidden: what is cut might leave a part of it.
    let text = flatten(text, MAXIMUM_TEXT);
    let text = hide(text, "user '", '\'');
    let text = hide(text, "User name [", ']');
    if text.contains("is not authorized to") {
        return hide(text, "User ", ' ');
    }
    text
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

/// Replaces what is between the first `before` and the next `after`.
fn hide(mut text: String, before: &str, after: char) -> String {
    if let Some(start) = text.find(before).map(|at| at + before.len()) {
        let end = text[start..]
            .find(after)
            .map_or(text.len(), |at| start + at);
        text.replace_range(start..end, "***");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_the_brokers_own_words() {
        use ErrorKind::*;
        // As RabbitMQ 3.10.8 and ActiveMQ 5.17 word them.
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
                PreconditionFailed,
            ),
            (
                "precondition_failed",
                "PRECONDITION_FAILED - unknown delivery tag 99",
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
            let error = ErrorFrame::new(&frame, &Mask::default());
            assert_eq!(error.kind(), kind, "{error}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains('\n') && !shown.contains("shop"), "{shown}");
        }
    }

    #[test]
    fn a_text_is_one_short_line() {
        let frame = Frame::new("ERROR")
            .with("message", "a\r\nb\u{1b}[31m\0c\u{2028}d")
            .with_body("\u{e9}".repeat(100_000).into_bytes());
        let shown = ErrorFrame::new(&frame, &Mask::default()).to_string();
        assert!(shown.starts_with("a b [31m c d: \u{e9}"), "{shown}");
        assert!(shown.chars().count() < 600);
        let frame = Frame::new("ERROR").with_body(vec![0xff; 3000]);
        assert!(
            ErrorFrame::new(&frame, &Mask::default())
                .body
                .chars()
                .count()
                <= 501
        );
    }

    #[test]
    fn a_password_at_the_cut_does_not_show() {
        let password = "hunter2-of-the-shop";
        for before in 1900..2100 {
            // Spaces and stars take less place when they are shown.
            for filling in [" ", password] {
                let mut body = filling.repeat(before / filling.len());
                body.push_str(&"x".repeat(before % filling.len()));
                body.push_str(&password.repeat(10));
                let frame = Frame::new("ERROR").with_body(body.into_bytes());
                let error = ErrorFrame::new(&frame, &Mask::new(password));
                assert!(!error.body.contains("hun"), "{before}: {}", error.body);
            }
        }
    }

    #[test]
    fn a_receipt_id_is_cleaned_too() {
        let id = format!("hunter2\u{1b}{}", "x".repeat(1000));
        let frame = Frame::new("ERROR").with("receipt-id", id);
        let error = ErrorFrame::new(&frame, &Mask::new("hunter2"));
        let shown = error.receipt_id.unwrap();
        assert!(shown.starts_with("*** xxx") && shown.chars().count() <= 501);
    }

    #[test]
    fn a_password_that_comes_back_does_not_show() {
        let frame = Frame::new("ERROR")
            .with("message", "Bad CONNECT")
            .with_body("Access refused for user 'shop' with p\\\\w and p\\w");
        let error = ErrorFrame::new(&frame, &Mask::new("p\\w"));
        assert_eq!(error.body, "Access refused for user '***' with *** and ***");
        // What the error is about is told by the broker's words all the same.
        let error = ErrorFrame::new(&frame, &Mask::new("Access"));
        assert_eq!(error.kind(), ErrorKind::RefusedLogin);
        assert!(!format!("{error} {error:?}").contains("Access"), "{error}");
    }
}
