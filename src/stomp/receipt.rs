//! The result of one frame.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::error::Error;

/// A future for the result of one frame: `Ok` means that the broker's RECEIPT for it arrived.
///
/// It always resolves within [`Options::receipt_timeout`](super::Options::receipt_timeout).
/// Dropping it does not cancel the frame. After it has resolved, polling it returns the same result
/// again.
#[must_use = "only the receipt shows whether the broker has the frame"]
#[derive(Debug)]
pub struct Receipt(State);

#[derive(Debug)]
enum State {
    Waiting(oneshot::Receiver<Result<(), Error>>),
    Done(Result<(), Error>),
}

impl Receipt {
    pub(super) fn waiting(receiver: oneshot::Receiver<Result<(), Error>>) -> Self {
        Self(State::Waiting(receiver))
    }

    pub(super) fn failed(error: impl Into<Error>) -> Self {
        Self(State::Done(Err(error.into())))
    }
}

impl Future for Receipt {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Done(result) => Poll::Ready(result.clone()),
            State::Waiting(receiver) => {
                let result = match Pin::new(receiver).poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(result)) => result,
                    // The connection's task ended without a result: the runtime was shut down.
                    Poll::Ready(Err(_)) => Err(Error::ConnectionLost {
                        source: Arc::new(Error::Closed),
                        error_frame: None,
                    }),
                };
                self.0 = State::Done(result.clone());
                Poll::Ready(result)
            }
        }
    }
}
