//! What is wrong with a MESSAGE that was decoded only in part.

/// What is wrong with a MESSAGE. The rest of it was decoded, and it can be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// A header is not UTF-8; U+FFFD replaces the invalid bytes.
    #[error("a header is not UTF-8")]
    NotUtf8,
    /// A header line has no colon or no name; the line is skipped.
    #[error("a header has no name or no colon")]
    MalformedHeader,
    /// A backslash sequence that this version's "Value Encoding" does not define; it is kept
    /// unchanged.
    #[error("a header holds an undefined escape sequence")]
    UndefinedEscape,
    /// The command and the headers exceed the limit, in bytes; the rest is skipped.
    #[error("the headers take more than {0} bytes")]
    HeadersTooLong(usize),
    /// The number of headers exceeds the limit; the rest is skipped.
    #[error("there are more than {0} headers")]
    TooManyHeaders(usize),
    /// The body exceeds the limit, in bytes; only its first bytes are kept.
    #[error("the body takes more than {0} bytes")]
    BodyTooLong(usize),
    /// The body does not end where its `content-length` says, or the header is not a number; the
    /// body ends at the first NUL.
    #[error("the content-length is wrong")]
    WrongContentLength,
}

/// All defects in one line.
pub(crate) fn listed(defects: &[Defect]) -> String {
    let texts: Vec<String> = defects.iter().map(Defect::to_string).collect();
    texts.join("; ")
}
