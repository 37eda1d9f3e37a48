//! Streams of the settings that nothing knows: a misspelled one would wait for ever.

use crate::backend::Backend;
use crate::db::{Db, DbError};

/// No row has this stream, and it was never paused or resumed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error(
    "stream `{}`: no row has it{}; if rows will have it later, make it known with `outbox resume --stream {}`",
    .stream.escape_debug(), known_streams(.known), .stream.escape_debug()
)]
pub struct UnknownStream {
    /// The stream.
    pub stream: String,
    /// The streams that exist.
    pub known: Vec<String>,
}

/// Returns the first of these streams that is unknown.
pub(crate) async fn unknown_stream<C: Backend>(
    db: &Db<C>,
    streams: &[String],
) -> Result<Option<UnknownStream>, DbError> {
    for stream in streams {
        let name = stream.clone();
        if !db.run(move |conn| conn.knows_stream(&name)).await? {
            return Ok(Some(UnknownStream {
                stream: stream.clone(),
                known: db.run(C::streams).await?,
            }));
        }
    }
    Ok(None)
}

fn known_streams(known: &[String]) -> String {
    if known.is_empty() {
        return ", and no other stream exists".to_owned();
    }
    let known: Vec<String> = known
        .iter()
        .take(20)
        .map(|stream| format!("`{}`", stream.escape_debug()))
        .collect();
    format!("; existing streams: {}", known.join(", "))
}
