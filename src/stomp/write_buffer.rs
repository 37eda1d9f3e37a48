//! Bytes that wait to be written to the socket.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::error::Error;
use crate::runtime::lease_clock;

/// While this many bytes wait, no more frames are encoded.
const LIMIT: usize = 256 * 1024;

/// TLS is flushed after this many bytes, even if more follow: only then they have certainly left
/// the process.
const UNFLUSHED: u64 = 256 * 1024;

/// The bytes to be written, and counters of those written.
#[derive(Debug)]
pub(super) struct WriteBuffer {
    bytes: BytesMut,
    has_tls: bool,
    /// The number of bytes accepted by the socket, or by TLS, since the beginning.
    written: u64,
    /// The number of bytes that neither this buffer nor TLS holds.
    flushed: u64,
    /// The frames with a deadline: where each ends, and when. A frame before one with an earlier
    /// deadline is left out, so the first entry is the earliest.
    deadlines: VecDeque<(u64, Instant)>,
    /// TLS may hold some bytes.
    must_flush: bool,
    last_write: Instant,
}

impl WriteBuffer {
    pub(super) fn new(has_tls: bool) -> Self {
        Self {
            bytes: BytesMut::new(),
            has_tls,
            written: 0,
            flushed: 0,
            deadlines: VecDeque::new(),
            must_flush: false,
            last_write: Instant::now(),
        }
    }

    /// Whether the socket has accepted everything.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.must_flush
    }

    /// Whether enough is encoded in advance.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= LIMIT
    }

    /// The buffer to append frames to.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// The position in the byte stream at which the next frame begins.
    pub(super) fn end(&self) -> u64 {
        self.written + self.bytes.len() as u64
    }

    /// How many bytes of the stream may have left the process.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// When bytes were last written.
    pub(super) fn last_write(&self) -> Instant {
        self.last_write
    }

    /// Sets a deadline, by [`lease_clock`], for everything appended so far: afterwards no complete
    /// frame of it may leave.
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

    /// The earliest deadline of a frame that is not flushed.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        while self
            .deadlines
            .front()
            .is_some_and(|(end, _)| *end <= self.flushed)
        {
            self.deadlines.pop_front();
        }
        self.deadlines.front().map(|(_, time)| *time)
    }

    /// Appends a heart-beat.
    pub(super) fn heartbeat(&mut self) {
        self.bytes.put_u8(b'\n');
    }

    /// Makes one step of writing; fails with [`Error::DeadlineExceeded`] at the deadline. After an error
    /// nothing more can be written. Cancel-safe.
    pub(super) async fn write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> Result<(), Error> {
        let deadline = self.deadline();
        let must_flush = self.has_tls && self.written - self.flushed >= UNFLUSHED;
        let step = poll_fn(|context| {
            // Checked at each poll: the task may not have run in between.
            if deadline.is_some_and(|time| time <= lease_clock::now()) {
                return Poll::Ready(Err(Error::DeadlineExceeded));
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
                self.flushed = self.written;
                return Ok(());
            }
            Ok(Some(length)) if length > 0 => {
                self.bytes.advance(length);
                self.written += length as u64;
                self.must_flush = true;
                if !self.has_tls {
                    self.flushed = self.written;
                }
                self.release_memory();
                return Ok(());
            }
            Ok(Some(_)) => Error::Disconnected,
            Err(Error::DeadlineExceeded) => return Err(Error::DeadlineExceeded),
            Err(error) => error,
        };
        if self.has_tls {
            // TLS does not report how many bytes it accepted and sent before it failed.
            self.written = self.end();
            self.bytes.clear();
        }
        Err(error)
    }

    /// Frees the memory of a large body once everything is written.
    fn release_memory(&mut self) {
        // `capacity()` does not show it: written bytes are no longer part of the buffer.
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
    async fn the_earliest_deadline_counts_until_its_frame_is_flushed() {
        for has_tls in [false, true] {
            let mut output = WriteBuffer::new(has_tls);
            let now = Instant::now();
            let second = Duration::from_secs(1);
            // The later frames end after it and are not flushed before it.
            for (length, time) in [(3, 9), (4, 5), (5, 7), (6, 8)] {
                output.buffer().put_bytes(b'x', length);
                output.not_after(now + time * second);
            }
            assert_eq!(output.deadline(), Some(now + 5 * second));
            let mut written = Vec::new();
            output.write(&mut written).await.unwrap();
            assert_eq!(output.written(), 18);
            let held_back = has_tls.then(|| now + 5 * second);
            assert_eq!(output.deadline(), held_back);
            output.write(&mut written).await.unwrap();
            assert_eq!(output.deadline(), None);
        }
    }

    #[tokio::test]
    async fn nothing_is_written_at_the_deadline() {
        let mut output = WriteBuffer::new(false);
        output.buffer().put_slice(b"late");
        output.not_after(Instant::now());
        let mut written = Vec::new();
        let error = output.write(&mut written).await.unwrap_err();
        assert!(matches!(error, Error::DeadlineExceeded) && written.is_empty());
    }

    #[tokio::test]
    async fn the_memory_of_a_large_body_is_freed() {
        let mut output = WriteBuffer::new(false);
        let body = vec![b'x'; 8 * LIMIT];
        output.buffer().reserve(body.len());
        output.buffer().put_slice(&body);
        assert!(output.is_full());
        let mut written = Vec::new();
        while !output.bytes.is_empty() {
            output.write(&mut written).await.unwrap();
        }
        assert_eq!(output.written(), body.len() as u64);
        assert!(!output.is_empty(), "not flushed yet");
        output.write(&mut written).await.unwrap();
        assert!(output.is_empty() && written == body);
        assert!(!output.bytes.try_reclaim(body.len()));
    }
}
