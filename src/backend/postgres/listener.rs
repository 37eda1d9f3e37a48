//! Waits for PostgreSQL's notifications on the socket.
//!
//! Diesel reads what the server has sent only when it is called, and does not report that something
//! has arrived. A client that waits on the socket costs nothing while nothing arrives.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, Socket};

use super::concerns;
use super::libpq_tls::{Mode, Plan, Unsupported};
use super::tls_stream::{Stream, Tls};
use crate::backend::watch::Listened;

/// How often to check whether the relay still runs.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// How often to check whether the server responds; it has the same time to answer.
const CHECK: Duration = Duration::from_secs(30);

/// Why notifications are not received.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    /// The runtime, or its TLS, could not be created.
    #[error("{0}")]
    Runtime(#[from] std::io::Error),
    /// Only libpq supports what the address and the environment require.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// The server refuses the login, TLS failed, or the server is not available.
    #[error("not connected: {0}")]
    Refused(#[source] tokio_postgres::Error),
    /// The connection is lost.
    #[error("the connection is lost: {0}")]
    Lost(#[source] tokio_postgres::Error),
}

impl ListenError {
    /// Whether no connection could be opened, so that another client may try.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Unsupported(_) | Self::Refused(_))
    }

    /// Whether this is temporary: the server is not available or takes no more connections.
    fn is_absence(&self) -> bool {
        let Self::Refused(error) = self else {
            return false;
        };
        if let Some(code) = error.code() {
            let passing = [
                SqlState::CANNOT_CONNECT_NOW,
                SqlState::ADMIN_SHUTDOWN,
                SqlState::TOO_MANY_CONNECTIONS,
            ];
            return passing.contains(code);
        }
        let source = std::error::Error::source(error);
        // TLS failures have errors of this type too, as another kind.
        source.is_some_and(|source| source.is::<std::io::Error>())
            && error.to_string().starts_with("error connecting")
    }
}

/// Connects as libpq would.
async fn connect(plan: &Plan) -> Result<(Client, Connection<Socket, Stream>), ListenError> {
    let checks_name = plan.mode == Mode::VerifyFull;
    let tls = Tls::new(plan.authorities.clone(), checks_name)?;
    let connected = plan.config.connect(tls.clone()).await;
    match connected {
        // The server requires TLS.
        Err(error) if plan.mode == Mode::Allow && error.as_db_error().is_some() => {
            let mut config = plan.config.clone();
            config.ssl_mode(SslMode::Require);
            config.connect(tls).await.map_err(ListenError::Refused)
        }
        other => other.map_err(ListenError::Refused),
    }
}

/// Wakes the relay at each notification that may concern the outbox of `schema`, until `is_over`
/// returns true.
pub(super) fn listen(
    url: &str,
    schema: Option<&str>,
    wake: &dyn Fn(),
    is_over: &dyn Fn() -> bool,
) -> Listened {
    match try_to_listen(url, schema, wake, is_over) {
        Ok(()) => Listened::Ended,
        Err(error) if error.is_refusal() => Listened::Refused {
            reason: chain(&error),
            is_temporary: error.is_absence(),
        },
        Err(error) => Listened::Lost(chain(&error)),
    }
}

/// The error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn try_to_listen(
    url: &str,
    schema: Option<&str>,
    wake: &dyn Fn(),
    is_over: &dyn Fn() -> bool,
) -> Result<(), ListenError> {
    let plan = Plan::of(url)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (client, mut connection) = connect(&plan).await?;
        let mut asked = pin!(client.batch_execute("listen outbox"));
        let mut listens = false;
        let mut steps = tokio::time::interval(CHECK_INTERVAL);
        let mut checks = tokio::time::interval_at(Instant::now() + CHECK, CHECK);
        // A silent server may be gone; nothing else would show that.
        let mut check: Running<'_, Result<(), Error>> = None;
        loop {
            tokio::select! {
                answer = &mut asked, if !listens => {
                    answer.map_err(ListenError::Lost)?;
                    listens = true;
                    // Rows may have been written before the LISTEN.
                    wake();
                }
                message = poll_fn(|context| connection.poll_message(context)) => match message {
                    Some(Ok(AsyncMessage::Notification(notification))) => {
                        if concerns(notification.payload(), schema) {
                            wake();
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
                _ = steps.tick() => if is_over() {
                    return Ok(());
                },
            }
        }
    })
}

/// A query that was sent and not answered yet.
type Running<'a, T> = Option<Pin<Box<dyn Future<Output = T> + 'a>>>;

/// The answer to the query, which is then removed. Waits for ever if there is none.
async fn answer<T>(question: &mut Running<'_, T>) -> T {
    let Some(asked) = question else {
        return std::future::pending().await;
    };
    let answer = asked.await;
    *question = None;
    answer
}
