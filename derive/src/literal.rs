//! Checks the literals of attributes.

use std::time::Duration;

use syn::LitStr;

use crate::errors::Errors;

/// Reports a text that is empty, longer than its column or holds U+0000.
pub(crate) fn check_text(text: &LitStr, what: &str, limit: usize, errors: &mut Errors) {
    let length = text.value().chars().count();
    if length == 0 {
        errors.at(
            text.span(),
            format!("the {what} is empty: leave it out, or name one"),
        );
    } else if length > limit {
        errors.at(
            text.span(),
            format!("the {what} has {length} characters; the maximum is {limit}"),
        );
    }
    refuse_nul(text, what, errors);
}

/// Reports U+0000.
pub(crate) fn refuse_nul(text: &LitStr, what: &str, errors: &mut Errors) {
    if text.value().contains('\0') {
        errors.at(
            text.span(),
            format!("the {what} holds the character U+0000, which neither STOMP nor the databases can carry"),
        );
    }
}

/// Parses a duration such as `15m`. `zero` says why there is none of zero.
pub(crate) fn duration(text: &LitStr, zero: &str, errors: &mut Errors) -> Option<Duration> {
    match humantime::parse_duration(&text.value()) {
        Ok(time) if time.is_zero() => {
            errors.at(text.span(), zero);
            None
        }
        Ok(time) => Some(time),
        Err(error) => {
            errors.at(
                text.span(),
                format!("not a duration: {error}; write it as `30s`, `15m` or `1h 30m`"),
            );
            None
        }
    }
}
