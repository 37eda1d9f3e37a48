//! PostgreSQL's notifications, waited for on the socket.
//!
//! Diesel reads what the server has sent only when it is asked to, and does not say when that would
//! be worth it. A client that can wait costs nothing while there is nothing.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::{AsyncMessage, Error, NoTls};

use super::Waker;
use crate::backend::tells_of;

/// How often to look whether the relay is still there.
const STEP: Duration = Duration::from_millis(250);

/// How often to ask whether the server is still there; it has as long to answer.
const CHECK: Duration = Duration::from_secs(30);

/// Why nothing is listened to.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListenError {
    /// No runtime for it.
    #[error("no runtime: {0}")]
    Runtime(#[from] std::io::Error),
    /// The address has parameters that only libpq knows, the server wants TLS, or it is away.
    #[error("not connected: {0}")]
    Refused(#[source] tokio_postgres::Error),
    /// The connection is lost.
    #[error("the connection is lost: {0}")]
    Lost(#[source] tokio_postgres::Error),
}

/// Wakes the relay at each notification that may tell of rows in the outbox of `schema`, until it
/// is over.
pub(super) fn listen(
    url: &str,
    schema: Option<&str>,
    waker: &Waker,
    over: &impl Fn() -> bool,
) -> Result<(), ListenError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (client, mut connection) = tokio_postgres::connect(url, NoTls)
            .await
            .map_err(ListenError::Refused)?;
        let mut asked = pin!(client.batch_execute("listen outbox"));
        let mut listens = false;
        let mut steps = tokio::time::interval(STEP);
        let mut checks = tokio::time::interval_at(Instant::now() + CHECK, CHECK);
        // A server that is silent may be gone: nothing else would tell.
        let mut check: Question<'_, Result<(), Error>> = None;
        loop {
            tokio::select! {
                answer = &mut asked, if !listens => {
                    answer.map_err(ListenError::Lost)?;
                    listens = true;
                    // What was written before it began to listen.
                    waker.wake();
                }
                message = poll_fn(|context| connection.poll_message(context)) => match message {
                    Some(Ok(AsyncMessage::Notification(told))) => {
                        if tells_of(told.payload(), schema) {
                            waker.wake();
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(ListenError::Lost(error)),
                    None => return Ok(()),
                },
                answer = answer(&mut check) => {
                    answer.map_err(ListenError::Lost)?;
                }
                _ = checks.tick() => {
                    if check.is_some() {
                        return Ok(());
                    }
                    check = Some(Box::pin(client.batch_execute("select 1")));
                }
                _ = steps.tick() => if over() {
                    return Ok(());
                },
            }
        }
    })
}

/// What is asked and not answered yet.
type Question<'a, T> = Option<Pin<Box<dyn Future<Output = T> + 'a>>>;

/// The answer to a question, which leaves its place; never if there is none.
async fn answer<T>(question: &mut Question<'_, T>) -> T {
    let Some(asked) = question else {
        return std::future::pending().await;
    };
    let answer = asked.await;
    *question = None;
    answer
}
