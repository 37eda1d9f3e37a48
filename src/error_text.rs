//! A callback's error as a text.

use crate::error::BoxError;
use crate::error::causes;
use crate::json::without_values;

/// An error and its causes, without the values that serde_json quotes: they may be parts of the message's
/// body, which only the log level `debug` shows.
pub(super) fn chain(error: &BoxError) -> String {
    let mut text = whole(error);
    for cause in causes(error.as_ref()) {
        if let Some(error) = cause.downcast_ref::<serde_json::Error>() {
            text = text.replace(&error.to_string(), &without_values(error));
        }
    }
    text
}

/// [`chain`], with the values that serde_json quotes, for the level `debug`.
pub(super) fn whole(error: &BoxError) -> String {
    let mut text = String::new();
    for cause in causes(error.as_ref()) {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Permanent;

    #[derive(Debug, thiserror::Error)]
    #[error("no order: {0}")]
    struct NoOrder(#[from] serde_json::Error);

    #[test]
    fn no_value_of_a_body_is_in_a_line() {
        let read = || serde_json::from_str::<u8>("\"hunter2\"").unwrap_err();
        let fits = "invalid type: string, expected u8 at line 1 column 9";
        for (error, expected) in [
            (BoxError::from(read()), fits.to_owned()),
            (Permanent::new(read()).into(), fits.to_owned()),
            (NoOrder(read()).into(), format!("no order: {fits}")),
            (
                Permanent::new(NoOrder(read())).into(),
                format!("no order: {fits}"),
            ),
            ("two\nlines".into(), "two\nlines".to_owned()),
        ] {
            assert_eq!(chain(&error), expected);
        }
        assert!(whole(&read().into()).contains("hunter2"));
    }
}
