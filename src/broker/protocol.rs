//! Deviations of a broker's frames from the STOMP specification.

/// Deviations of a broker's frames from the STOMP specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Protocol {
    /// Whether headers have all escape sequences of STOMP 1.2 in every version.
    pub(crate) has_all_escapes: bool,
    /// Whether the broker reads the escape sequences of 1.1 in 1.0 (and writes none there).
    pub(crate) reads_escapes_in_1_0: bool,
    /// Whether NACK exists in 1.0.
    pub(crate) has_nack_in_1_0: bool,
    /// Whether the last `content-length` of a MESSAGE counts rather than the first.
    pub(crate) has_last_length: bool,
}

impl Protocol {
    /// No deviation.
    pub(super) const SPECIFIED: Self = Self {
        has_all_escapes: false,
        reads_escapes_in_1_0: false,
        has_nack_in_1_0: false,
        has_last_length: false,
    };
}
