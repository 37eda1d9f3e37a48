//! The widths of the text columns, in characters, and whether a text fits. The migrations create the columns.

pub(crate) const DESTINATION: usize = 255;
pub(crate) const VERSION: usize = 100;
pub(crate) const STREAM: usize = 100;
pub(crate) const KEY: usize = 255;
#[cfg(feature = "stomp")]
pub(crate) const CONSUMER: usize = 100;
pub(crate) const CALL_NAME: usize = 255;
pub(crate) const ENCODING: usize = 40;

/// Why a column cannot hold a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// The text has this number of characters.
    TooLong(usize),
    /// The text holds U+0000.
    Nul,
}

/// Checks a text, if there is one, for a column of this width.
pub(crate) fn check(text: Option<&str>, width: usize) -> Result<(), Misfit> {
    let Some(text) = text else { return Ok(()) };
    let length = text.chars().count();
    if length > width {
        return Err(Misfit::TooLong(length));
    }
    if text.contains('\0') {
        return Err(Misfit::Nul);
    }
    Ok(())
}
