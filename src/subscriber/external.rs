//! One attempt at a message whose work is not in the database: look up, work, insert the inbox row.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::{Attempt, of_callback_error, of_database_error, panicked};
use crate::backend::Backend;
use crate::callback::Outcome;
use crate::callback::builtin::RunError;
use crate::callback::kind::External;
use crate::callback::payload::{Payload, is_unique_violation};
use crate::correlation;
use crate::db::{Db, DbError, is_infrastructure};
use crate::runtime::outage::Outage;
use crate::traces;

/// Longest pause between two tries to insert the inbox row. Short, so that a subscriber that stops can
/// still insert it if the database is available again within `shutdown_timeout`.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Failed statements after which the row is written without headers and body, because they may be the
/// reason why the connection is lost.
const WITH_DOCUMENTS: u32 = 3;

/// The work is done, and the database refuses the inbox row.
#[derive(Debug, thiserror::Error)]
#[error("the callback has done its work, but the database refuses the inbox row: {0}")]
struct NotRecorded(#[source] DbError);

/// Makes one attempt. `before` attempts have failed by the message's own fault. After the work is done it is
/// not repeated: during an outage of the database the insert is retried, until `abandoned` resolves
/// because nobody waits for the attempt any more.
pub(super) async fn attempt<C: Backend>(
    db: &Db<C>,
    external: &Arc<External>,
    payload: &Payload,
    before: u32,
    abandoned: impl Future<Output = ()>,
) -> Attempt {
    let (id, consumer) = (payload.msg_id().to_owned(), payload.consumer().to_owned());
    match db.run(move |conn| conn.is_received(&id, &consumer)).await {
        Ok(false) => {}
        Ok(true) => return Attempt::Duplicate,
        Err(error) => return refused(error),
    }
    let work = (external.call)(payload.clone());
    let id = payload.correlation_id().to_owned();
    let span = traces::process(payload);
    let scoped = correlation::on_behalf_async(id, payload.trace(), span.clone(), work);
    // A task of its own catches a panic.
    let attempt = match tokio::spawn(scoped).await {
        Err(error) if error.is_panic() => Attempt::failed(panicked(&*error.into_panic())),
        Err(error) => Attempt::Unavailable(error.into()),
        Ok(Err(error)) if matches!(error.downcast_ref(), Some(RunError::Stopped)) => {
            Attempt::NotStarted
        }
        Ok(Err(error)) if error.downcast_ref().is_some_and(RunError::is_shortage) => {
            Attempt::Contended(error)
        }
        Ok(Err(error)) => of_callback_error(error),
        Ok(Ok(Outcome::Discard(reason))) => Attempt::Discarded(reason),
        Ok(Ok(Outcome::Done)) => record(db, payload, before, abandoned).await,
    };
    attempt.record(&span);
    attempt
}

/// Inserts the inbox row of a message whose work is done.
async fn record<C: Backend>(
    db: &Db<C>,
    payload: &Payload,
    before: u32,
    abandoned: impl Future<Output = ()>,
) -> Attempt {
    let mut outage = Outage::of_database(LONGEST_PAUSE);
    let mut refusals = 0;
    tokio::pin!(abandoned);
    loop {
        let error = match insert(db, payload, before, refusals < WITH_DOCUMENTS).await {
            Ok(()) => {
                outage.over();
                return Attempt::Done;
            }
            Err(error) => error,
        };
        match &error {
            DbError::Statement(refusal) if !is_infrastructure(refusal) => {
                // Another attempt would repeat the work.
                return Attempt::Failed {
                    error: NotRecorded(error).into(),
                    is_permanent: true,
                };
            }
            DbError::Statement(_) => refusals += 1,
            DbError::Unfinished(_) | DbError::Panicked => return refused(error),
            _ => {}
        }
        let pause = outage.pause_after(&error);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = &mut abandoned => return refused(error),
        }
    }
}

async fn insert<C: Backend>(
    db: &Db<C>,
    payload: &Payload,
    before: u32,
    with_documents: bool,
) -> Result<(), DbError> {
    let payload = payload.clone();
    let inserted = db.run(move |conn| {
        let row = payload.new_received(before).fitted(conn);
        if !with_documents {
            return conn.insert_received(&row.bare());
        }
        match conn.insert_received(&row) {
            Err(error) if !is_unique_violation(&error) && !is_infrastructure(&error) => {
                conn.insert_received(&row.bare())
            }
            other => other,
        }
    });
    match inserted.await {
        // An earlier try inserted it and its answer was lost; or another consumer was faster, and the
        // work was done twice, as the documentation says.
        Err(DbError::Statement(error)) if is_unique_violation(&error) => Ok(()),
        other => other,
    }
}

/// What a failed look-up means.
fn refused(error: DbError) -> Attempt {
    match error {
        DbError::Statement(error) => of_callback_error(error.into()),
        other => of_database_error(other.into()),
    }
}
