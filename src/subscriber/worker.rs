//! What a worker does with a message: an attempt, and for one that comes again a look at what became
//! of it before.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::count::Count;
use super::external;
use super::inbox::{self, Attempt};
use super::job::Job;
use crate::backend::Backend;
use crate::registry::{Blocking, External};

/// Tries the message once, on this thread.
pub(super) fn attempt<C: Backend>(
    count: &Count<C>,
    callback: &Blocking<C>,
    job: &Job,
    is_alone: bool,
) -> Attempt {
    let is_counted = count.concerns(job);
    if is_counted && let Err(attempt) = count.begin_again(&job.payload, is_alone) {
        return attempt;
    }
    let attempt = inbox::attempt(count.db(), callback, &job.payload, job.course.failures);
    if is_counted {
        count.ended(&job.payload, &attempt);
    }
    if count.is_behind() && shows_the_database(&attempt) {
        count.settle();
    }
    attempt
}

/// The same for a callback whose work is not in the database. `abandoned` when nobody waits for the
/// attempt any more.
pub(super) async fn attempt_apart<C: Backend>(
    count: &Count<C>,
    callback: &Arc<External>,
    job: &Job,
    is_alone: bool,
    abandoned: impl Future<Output = ()>,
) -> Attempt {
    let is_counted = count.concerns(job);
    if is_counted {
        let (count, payload) = (count.clone(), job.payload.clone());
        let begun = spawn_blocking(move || count.begin_again(&payload, is_alone)).await;
        if let Err(attempt) = begun.unwrap_or_else(|lost| Err(inbox::hindrance(lost.into()))) {
            return attempt;
        }
    }
    let failures = job.course.failures;
    let attempt = external::attempt(count.db(), callback, &job.payload, failures, abandoned).await;
    if !is_counted && !count.is_behind() {
        return attempt;
    }
    let (count, payload) = (count.clone(), job.payload.clone());
    let ended = spawn_blocking(move || {
        if is_counted {
            count.ended(&payload, &attempt);
        }
        if count.is_behind() && shows_the_database(&attempt) {
            count.settle();
        }
        attempt
    });
    ended
        .await
        .unwrap_or_else(|lost| inbox::hindrance(lost.into()))
}

/// Whether the database was there for it.
fn shows_the_database(attempt: &Attempt) -> bool {
    !matches!(attempt, Attempt::Unavailable(_))
}
