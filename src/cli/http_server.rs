//! An HTTP server for a few clients: the metrics, and the pages for operators.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::runtime::shutdown::Shutdown;

/// Connections that are served at the same time; further ones wait.
const CONNECTIONS: u32 = 64;
/// How long the head of a request, or the pause between two of them, may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests may go on after a shutdown request.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers requests with `handler`, which also gets the address of the client. After a shutdown request it waits for
/// the requests that are under way.
pub(super) async fn serve<B, F>(
    listener: TcpListener,
    shutdown: Shutdown,
    handler: impl Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
) where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    F: Future<Output = Response<B>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS as usize));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.requested() => break,
        };
        match accepted {
            Ok((connection, peer)) => {
                let (handler, shutdown) = (handler.clone(), shutdown.clone());
                tokio::spawn(async move {
                    serve_connection(connection, peer, shutdown, handler).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Such as too many open files.
                tracing::debug!(error = %error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let _ = timeout(CLOSE_TIMEOUT, places.acquire_many(CONNECTIONS)).await;
}

async fn serve_connection<B, F>(
    connection: TcpStream,
    peer: SocketAddr,
    shutdown: Shutdown,
    handler: impl Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
) where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    F: Future<Output = Response<B>> + Send + 'static,
{
    let service = service_fn(move |request| {
        let answer = handler(request, peer);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .serve_connection(TokioIo::new(connection), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shutdown.requested() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error = %error, "a connection has ended");
    }
}
