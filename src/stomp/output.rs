//! Bytes on their way to the socket.

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::error::Error;

/// Over so many bytes that wait for the socket no more frames are encoded.
const LIMIT: usize = 256 * 1024;

/// Bytes that wait for the socket, and how many it has had.
#[derive(Debug)]
pub(super) struct Output {
    bytes: BytesMut,
    has_tls: bool,
    /// Bytes that the socket has taken since the beginning, or TLS before it.
    written: u64,
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

    /// Appends a heart-beat.
    pub(super) fn beat(&mut self) {
        self.bytes.put_u8(b'\n');
    }

    /// One step of writing; after an error nothing more can be written. Safe to cancel.
    pub(super) async fn push<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> Result<(), Error> {
        let result = if self.bytes.is_empty() {
            writer.flush().await.map(|()| None)
        } else {
            writer.write_buf(&mut self.bytes).await.map(Some)
        };
        self.last_write = Instant::now();
        let error = match result {
            Ok(None) => {
                self.must_flush = false;
                return Ok(());
            }
            Ok(Some(length)) if length > 0 => {
                self.written += length as u64;
                self.must_flush = true;
                self.let_go();
                return Ok(());
            }
            Ok(Some(_)) => Error::Disconnected,
            Err(error) => error.into(),
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
    use super::*;

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
