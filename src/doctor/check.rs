//! A check: what was found, the verdict, and what to do.

use std::fmt;

use serde::Serialize;

use crate::terminal;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// It works, and something is likely to go wrong later, or could not be checked.
    Warning,
    /// Something does not work, or messages can be lost.
    Error,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A line of a [`Report`](super::Report). Its texts have no line breaks, and control characters in them are escaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// What was checked, such as `database.clock`: one of the names in `docs/doctor.md`.
    #[serde(rename = "check")]
    pub name: &'static str,
    /// The table, queue, destination or address that it is about, if there may be several.
    pub subject: Option<String>,
    /// The result.
    pub verdict: Verdict,
    /// What was found.
    pub text: String,
    /// What to do, unless the verdict is [`Verdict::Ok`].
    pub advice: Option<String>,
}

impl Check {
    pub(super) fn ok(name: &'static str, text: impl fmt::Display) -> Self {
        Self::new(name, Verdict::Ok, text, None)
    }

    pub(super) fn warning(
        name: &'static str,
        text: impl fmt::Display,
        advice: impl fmt::Display,
    ) -> Self {
        Self::new(name, Verdict::Warning, text, Some(advice.to_string()))
    }

    pub(super) fn error(
        name: &'static str,
        text: impl fmt::Display,
        advice: impl fmt::Display,
    ) -> Self {
        Self::new(name, Verdict::Error, text, Some(advice.to_string()))
    }

    /// A check that could not be made.
    pub(super) fn unknown(
        name: &'static str,
        reason: impl fmt::Display,
        advice: impl fmt::Display,
    ) -> Self {
        Self::warning(name, format_args!("cannot be checked: {reason}"), advice)
    }

    fn new(
        name: &'static str,
        verdict: Verdict,
        text: impl fmt::Display,
        advice: Option<String>,
    ) -> Self {
        Self {
            name,
            subject: None,
            verdict,
            text: terminal::one_line(&text.to_string()),
            advice: advice.map(|advice| terminal::one_line(&advice)),
        }
    }

    /// Says what it is about.
    pub(super) fn about(self, subject: &str) -> Self {
        Self {
            subject: Some(terminal::one_line(subject)),
            ..self
        }
    }
}

/// A number of things, such as `1 row` or `2 rows`.
pub(crate) fn counted(number: impl fmt::Display, noun: &str) -> String {
    let number = number.to_string();
    let end = if number == "1" { "" } else { "s" };
    format!("{number} {noun}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_from_outside_are_one_line_without_control_characters() {
        let check = Check::error("queue", "a\u{1b}[31m\nb", "do\r\nthis").about("q\u{202e}\n");
        assert_eq!(check.text, "a\\u{1b}[31m; b");
        assert_eq!(check.advice.as_deref(), Some("do; this"));
        assert_eq!(check.subject.as_deref(), Some("q\\u{202e}"));
    }
}
