//! Bytes on their way to the socket.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::error::Error;

/// Over so many bytes that wait for the socket no more frames are encoded.
const LIMIT: usize = 256 * 1024;

/// So many bytes TLS is given before it is flushed, though more are to come: only then it is certain
/// that they have left us.
const UNFLUSHED: u64 = 256 * 1024;

/// Bytes that wait for the socket, and how many it has had.
#[derive(Debug)]
pub(super) struct Output {
    bytes: BytesMut,
    has_tls: bool,
    /// Bytes that the socket has taken since the beginning, or TLS before it.
    written: u64,
    /// Bytes of which none is held back by us or by TLS.
    gone: u64,
    /// Frames that are to be gone by a time, or not to be written as a whole: where each ends, and the
    /// time. A frame before one that has less time is not in it, so the first has the least.
    deadlines: VecDeque<(u64, Instant)>,
    /// TLS may hold some of them back.
    must_flush: bool,
    last_write: Instant,
}

impl Output {
    pub(super) fn new(has_tls: bool) -> Self {
        Self {
            bytes: BytesMut::new(),
            has_tls,
            written: 0,
            gone: 0,
            deadlines: VecDeque::new(),
            must_flush: false,
            last_write: Instant::now(),
        }
    }

    /// Whether the socket has all of it.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.must_flush
    }

    /// Whether as much waits as is worth encoding ahead.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= LIMIT
    }

    /// Where frames are appended.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Where in the stream of all bytes the next frame begins.
    pub(super) fn end(&self) -> u64 {
        self.written + self.bytes.len() as u64
    }

    /// How much of the stream of all bytes may have left us.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// When bytes left us last.
    pub(super) fn last_write(&self) -> Instant {
        self.last_write
    }

    /// What was appended so far is to be gone by then, or not to be written as a whole.
    pub(super) fn not_after(&mut self, time: Instant) {
        while self
            .deadlines
            .back()
            .is_some_and(|(_, other)| *other >= time)
        {
            self.deadlines.pop_back();
        }
        self.deadlines.push_back((self.end(), time));
    }

    /// When the first of the frames that are not gone has to be.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        while self
            .deadlines
            .front()
            .is_some_and(|(end, _)| *end <= self.gone)
        {
            self.deadlines.pop_front();
        }
        self.deadlines.front().map(|(_, time)| *time)
    }

    /// Appends a heart-beat.
    pub(super) fn beat(&mut self) {
        self.bytes.put_u8(b'\n');
    }

    /// One step of writing, which ends with [`Error::Late`] at the deadline; after an error nothing
    /// more can be written. Safe to cancel.
    pub(super) async fn push<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> Result<(), Error> {
        let deadline = self.deadline();
        let must_flush = self.has_tls && self.written - self.gone >= UNFLUSHED;
        let step = poll_fn(|context| {
            // Each time, as we may not have been running meanwhile.
            if deadline.is_some_and(|time| time <= Instant::now()) {
                return Poll::Ready(Err(Error::Late));
            }
            let writer = Pin::new(&mut *writer);
            if must_flush || self.bytes.is_empty() {
                let flushed = writer.poll_flush(context);
                return flushed.map_ok(|()| None).map_err(Error::from);
            }
            let written = writer.poll_write(context, &self.bytes);
            written.map_ok(Some).map_err(Error::from)
        });
        let result = step.await;
        self.last_write = Instant::now();
        let error = match result {
            Ok(None) => {
                self.must_flush = false;
                self.gone = self.written;
                return Ok(());
            }
            Ok(Some(length)) if length > 0 => {
                self.bytes.advance(length);
                self.written += length as u64;
                self.must_flush = true;
                if !self.has_tls {
                    self.gone = self.written;
                }
                self.let_go();
                return Ok(());
            }
            Ok(Some(_)) => Error::Disconnected,
            Err(Error::Late) => return Err(Error::Late),
            Err(error) => error,
        };
        if self.has_tls {
            // It does not say what it has taken, and sent in part, before it failed.
            self.written = self.end();
            self.bytes.clear();
        }
        Err(error)
    }

    /// Gives the memory of a big body back when all of it is written.
    fn let_go(&mut self) {
        // Its capacity says nothing: what was written is no part of it any more.
        if self.bytes.is_empty() && self.bytes.try_reclaim(4 * LIMIT) {
            self.bytes = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_least_time_counts_until_its_frame_is_gone() {
        for has_tls in [false, true] {
            let mut output = Output::new(has_tls);
            let now = Instant::now();
            let second = Duration::from_secs(1);
            // The later ones end behind it, and are not gone before it is.
            for (length, time) in [(3, 9), (4, 5), (5, 7), (6, 8)] {
                output.buffer().put_bytes(b'x', length);
                output.not_after(now + time * second);
            }
            assert_eq!(output.deadline(), Some(now + 5 * second));
            let mut written = Vec::new();
            output.push(&mut written).await.unwrap();
            assert_eq!(output.written(), 18);
            let held_back = has_tls.then(|| now + 5 * second);
            assert_eq!(output.deadline(), held_back);
            output.push(&mut written).await.unwrap();
            assert_eq!(output.deadline(), None);
        }
    }

    #[tokio::test]
    async fn nothing_is_written_at_the_deadline() {
        let mut output = Output::new(false);
        output.buffer().put_slice(b"late");
        output.not_after(Instant::now());
        let mut written = Vec::new();
        let error = output.push(&mut written).await.unwrap_err();
        assert!(matches!(error, Error::Late) && written.is_empty());
    }

    #[tokio::test]
    async fn the_memory_of_a_big_body_is_given_back() {
        let mut output = Output::new(false);
        let body = vec![b'x'; 8 * LIMIT];
        output.buffer().reserve(body.len());
        output.buffer().put_slice(&body);
        assert!(output.is_full());
        let mut written = Vec::new();
        while !output.bytes.is_empty() {
            output.push(&mut written).await.unwrap();
        }
        assert_eq!(output.written(), body.len() as u64);
        assert!(!output.is_empty(), "it is not flushed");
        output.push(&mut written).await.unwrap();
        assert!(output.is_empty() && written == body);
        assert!(!output.bytes.try_reclaim(body.len()));
    }
}
