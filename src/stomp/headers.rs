//! The headers of a received frame.

use std::fmt;

/// The headers of a frame, unescaped and in order. If a name repeats, the first counts (STOMP 1.2,
/// "Repeated Header Entries").
///
/// All text is in one block, so the number of allocations does not depend on the number of headers.
#[derive(Clone, Default)]
pub struct Headers {
    text: String,
    spans: Vec<Span>,
}

/// The position of a header in the text: its name, one byte, its value.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    colon: usize,
    end: usize,
}

impl Headers {
    /// No headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From a text in which [`found`](Self::found) then marks the headers.
    pub(super) fn of_text(text: &str, count: usize) -> Self {
        Self {
            text: text.to_owned(),
            spans: Vec::with_capacity(count),
        }
    }

    /// Reserves room for `count` headers with `bytes` bytes of names and values.
    pub(super) fn with_capacity(count: usize, bytes: usize) -> Self {
        Self {
            text: String::with_capacity(bytes + count),
            spans: Vec::with_capacity(count),
        }
    }

    /// Adds a header within the text: the name begins at `start`, the colon is at `colon`, the
    /// value ends at `end`.
    pub(super) fn found(&mut self, start: usize, colon: usize, end: usize) {
        debug_assert!(self.text.get(start..colon).is_some() && self.text.get(colon..end).is_some());
        self.spans.push(Span { start, colon, end });
    }

    /// Appends a header.
    pub fn push(&mut self, name: &str, value: &str) {
        let start = self.text.len();
        let colon = start + name.len();
        self.text.push_str(name);
        self.text.push(':');
        self.text.push_str(value);
        let end = self.text.len();
        self.spans.push(Span { start, colon, end });
    }

    /// The value of the first header of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The names and values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + DoubleEndedIterator {
        self.spans.iter().map(|span| {
            (
                &self.text[span.start..span.colon],
                &self.text[span.colon + 1..span.end],
            )
        })
    }

    /// The number of headers, repeated ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The allocated memory, in bytes.
    pub(super) fn size(&self) -> usize {
        self.text.capacity() + self.spans.capacity() * size_of::<Span>()
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut all = Self::new();
        all.extend(headers);
        all
    }
}

impl<N: AsRef<str>, V: AsRef<str>> Extend<(N, V)> for Headers {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, headers: I) {
        for (name, value) in headers {
            self.push(name.as_ref(), value.as_ref());
        }
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

// Hides login and passcode.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.iter().map(|(name, value)| match name {
            "passcode" | "login" => (name, "***"),
            _ => (name, value),
        });
        f.debug_map().entries(shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_ignores_how_headers_were_made() {
        let mut found = Headers::of_text("MESSAGE\na:1\nb:\n", 2);
        found.found(8, 9, 11);
        found.found(12, 13, 14);
        let pushed: Headers = [("a", "1"), ("b", "")].into_iter().collect();
        assert_eq!(found, pushed);
        assert_eq!((found.get("b"), found.get("c")), (Some(""), None));
        assert_eq!(found.len(), 2);
        let mut longer = pushed.clone();
        longer.push("a", "2");
        assert_ne!(longer, pushed);
        assert_eq!(longer.get("a"), Some("1"));
    }

    #[test]
    fn a_login_does_not_show() {
        let headers: Headers = [("login", "shop"), ("passcode", "hunter2"), ("x", "y")]
            .into_iter()
            .collect();
        let shown = format!("{headers:?}");
        assert!(!shown.contains("shop") && !shown.contains("hunter2"));
        assert!(shown.contains("\"x\": \"y\""), "{shown}");
    }
}
