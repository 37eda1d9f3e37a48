//! What is wrong with a MESSAGE that could be decoded in part.

/// What is wrong with a MESSAGE. Everything else of it was decoded; what acknowledges it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// A header is not UTF-8; U+FFFD stands for each piece that is not.
    #[error("a header is not UTF-8")]
    NotUtf8,
    /// A header line without a colon, or without a name; it is left out.
    #[error("a header has no name or no colon")]
    MalformedHeader,
    /// A backslash that the version's "Value Encoding" does not know; it stands for itself.
    #[error("a header holds an undefined escape sequence")]
    UndefinedEscape,
    /// The command and the headers take more than the limit; what is behind it is left out.
    #[error("the headers take more than {0} bytes")]
    HeadersTooLong(usize),
    /// More headers than the limit; what is behind it is left out.
    #[error("there are more than {0} headers")]
    TooManyHeaders(usize),
    /// The body is longer than the limit; the first bytes of it are there.
    #[error("the body takes more than {0} bytes")]
    BodyTooLong(usize),
    /// The body does not end where its `content-length` says, or this is not a number; the body ends
    /// at the first NUL.
    #[error("the content-length is wrong")]
    WrongContentLength,
}

/// All of them in one line.
pub(crate) fn listed(defects: &[Defect]) -> String {
    let texts: Vec<String> = defects.iter().map(Defect::to_string).collect();
    texts.join("; ")
}
