//! What a callback returns.

use crate::error::BoxError;

/// How a callback that did not fail has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The message had its effect: its inbox row is committed, and the message is acknowledged.
    Done,
    /// The message is of no use, for this reason: the callback's writes are rolled back, and the message
    /// goes to the dead letters and leaves no inbox row.
    Discard(String),
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::Done
    }
}

/// What a callback may return: `()`, [`Outcome`], or a `Result` of either, with any error that converts
/// into [`BoxError`]. `()` means [`Outcome::Done`].
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use diesel::{QueryResult, RunQueryDsl, SqliteConnection};
/// use diesel_outbox::{Outcome, Payload, Registry};
///
/// fn count(_: &mut SqliteConnection, payload: &Payload) {
///     println!("{} bytes", payload.raw().len());
/// }
///
/// fn bill(conn: &mut SqliteConnection, _: &Payload) -> QueryResult<()> {
///     diesel::sql_query("insert into bills default values").execute(conn)?;
///     Ok(())
/// }
///
/// fn ignore(_: &mut SqliteConnection, _: &Payload) -> Outcome {
///     Outcome::Discard("not for us".to_owned())
/// }
///
/// let registry = Registry::new().on("count", count).on("bill", bill).on("ignore", ignore);
/// # let _ = registry;
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "a callback cannot return `{Self}`",
    label = "this callback returns `{Self}`",
    note = "a callback returns `()`, `Outcome`, `Result<(), E>` or `Result<Outcome, E>`, where \
            `E: Into<BoxError>`"
)]
pub trait IntoOutcome {
    /// The outcome, or the callback's error.
    ///
    /// # Errors
    ///
    /// The callback's error.
    fn into_outcome(self) -> Result<Outcome, BoxError>;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Result<Outcome, BoxError> {
        Ok(Outcome::Done)
    }
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Result<Outcome, BoxError> {
        Ok(self)
    }
}

impl<T: Into<Outcome>, E: Into<BoxError>> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Result<Outcome, BoxError> {
        self.map(Into::into).map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(returned: impl IntoOutcome) -> Result<Outcome, String> {
        returned.into_outcome().map_err(|error| error.to_string())
    }

    #[test]
    fn each_type_that_a_callback_may_return_is_an_outcome() {
        let discard = || Outcome::Discard("why".to_owned());
        assert_eq!(outcome(()), Ok(Outcome::Done));
        assert_eq!(outcome(Outcome::Done), Ok(Outcome::Done));
        assert_eq!(outcome(discard()), Ok(discard()));
        assert_eq!(outcome(Ok::<_, BoxError>(())), Ok(Outcome::Done));
        assert_eq!(outcome(Ok::<_, BoxError>(discard())), Ok(discard()));
        let error = diesel::result::Error::NotFound;
        assert_eq!(
            outcome(Err::<(), _>(error)),
            Err("Record not found".to_owned())
        );
        assert_eq!(outcome(Err::<Outcome, _>("no")), Err("no".to_owned()));
    }
}
