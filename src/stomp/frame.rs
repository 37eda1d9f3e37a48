//! A STOMP frame of client or server.

use std::fmt;

use bytes::Bytes;

use super::defect::Defect;
use super::headers::Headers;

/// A frame: a command, headers in order, and a body.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// The command, such as `MESSAGE`.
    pub command: String,
    /// The headers, unescaped.
    pub headers: Headers,
    /// The body; may be empty.
    pub body: Bytes,
    /// What is wrong with it. Empty unless it is a MESSAGE that was decoded only in part.
    pub defects: Box<[Defect]>,
}

impl Frame {
    /// Creates a frame without headers and body.
    #[must_use]
    pub fn new(command: &str) -> Self {
        Self {
            command: command.to_owned(),
            ..Self::default()
        }
    }

    /// Appends a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.headers.push(name, value.as_ref());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub(super) fn add_defect(&mut self, defect: Defect) {
        if !self.defects.contains(&defect) {
            let mut all = std::mem::take(&mut self.defects).into_vec();
            all.push(defect);
            self.defects = all.into();
        }
    }

    /// The value of the first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }
}

// Not derived: a body may contain personal data.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.command, self.headers)?;
        write!(f, " ({} bytes)", self.body.len())
    }
}
