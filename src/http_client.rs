//! One GET over HTTP/1.1, on a connection of its own.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::header::{HOST, HeaderName};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GetError {
    /// The request could not be made or sent, or the connection has ended.
    #[error(transparent)]
    Exchange(Box<dyn std::error::Error + Send + Sync>),
    /// The body could not be read, or is too long.
    #[error(transparent)]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// The status and the body of an answer, which has at most `longest` bytes.
pub(crate) async fn get<S>(
    stream: S,
    host: &str,
    path: &str,
    headers: &[(HeaderName, &str)],
    longest: usize,
) -> Result<(u16, Bytes), GetError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let exchange = |error: hyper::Error| GetError::Exchange(error.into());
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(exchange)?;
    let connection = tokio::spawn(connection);
    let mut request = Request::get(path).header(HOST, host);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(|error| GetError::Exchange(error.into()))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(exchange)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), longest).collect().await;
        Ok((status, body.map_err(GetError::Body)?.to_bytes()))
    };
    let answer = answer.await;
    connection.abort();
    answer
}
