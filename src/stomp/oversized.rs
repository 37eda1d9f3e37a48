//! Skips the parts of a MESSAGE that exceed a limit, up to the end of the frame. Keeps only what
//! its ACK needs.

use bytes::{Buf, BytesMut};
use memchr::memchr;

use super::decoder::{DecodeError, State, Step};
use super::defect::Defect;
use super::dialect::Dialect;
use super::frame::Frame;
use super::head;

/// A head of up to this many times the limit is skipped; a longer one is an error.
const SKIPPED_HEADS: usize = 16;
/// The longest body that is skipped, in bytes. No broker accepts a longer message.
const MAX_SKIPPED_BODY: usize = i32::MAX as usize;
/// How much of a skipped body is kept to recognize the message, in bytes.
const PREFIX: usize = 4 * 1024;

/// A head that exceeds a limit.
#[derive(Debug)]
pub(super) struct LongHead {
    /// The lines within the limits, and where they end.
    kept: BytesMut,
    lines: Vec<usize>,
    /// The required headers found after the limit, in the order of `NEEDED`.
    needed: [Option<BytesMut>; head::NEEDED.len()],
    defect: Defect,
    /// The longest line that is kept, in bytes.
    longest: usize,
    /// How many bytes of the head have been consumed.
    skipped: usize,
    /// How many bytes at the front of the buffer have been searched already.
    searched: usize,
    /// Whether the current line is too long to be examined.
    is_dropped: bool,
}

impl LongHead {
    pub(super) fn new(kept: BytesMut, lines: Vec<usize>, defect: Defect, limit: usize) -> Self {
        Self {
            skipped: kept.len(),
            kept,
            lines,
            needed: Default::default(),
            defect,
            longest: limit,
            searched: 0,
            is_dropped: false,
        }
    }

    /// Returns the frame without its body, or `self` if the head has not ended yet.
    pub(super) fn take(
        mut self: Box<Self>,
        src: &mut BytesMut,
        dialect: Dialect,
    ) -> Result<Result<Frame, Box<Self>>, DecodeError> {
        let most = self.longest.saturating_mul(SKIPPED_HEADS);
        loop {
            let found = memchr(b'\n', &src[self.searched..]).map(|at| self.searched + at);
            if self.skipped + found.unwrap_or(src.len()) > most {
                return Err(self.defect.into());
            }
            let Some(end) = found else {
                if src.len() > self.longest {
                    self.is_dropped = true;
                    self.skipped += src.len();
                    src.clear();
                }
                self.searched = src.len();
                return Ok(Err(self));
            };
            self.skipped += end + 1;
            self.searched = 0;
            let line = src.split_to(end + 1);
            let is_whole = !std::mem::take(&mut self.is_dropped) && end <= self.longest;
            if is_whole && (line[..] == *b"\n" || line[..] == *b"\r\n" && dialect.has_crlf()) {
                return self.frame(dialect).map(Ok);
            }
            if is_whole {
                self.keep(line, dialect);
            }
        }
    }

    /// Keeps a required header: the first of its name, or the last if the dialect says so.
    fn keep(&mut self, line: BytesMut, dialect: Dialect) {
        let name = memchr(b':', &line).map(|colon| &line[..colon]);
        let place = head::NEEDED
            .iter()
            .position(|needed| name == Some(needed.as_bytes()));
        let Some(place) = place else {
            return;
        };
        let is_last = dialect.has_last_length && head::NEEDED[place] == "content-length";
        let slot = &mut self.needed[place];
        if slot.is_none() || is_last {
            // A copy, so that it does not keep the whole input buffer.
            *slot = Some(BytesMut::from(&line[..]));
        }
    }

    fn frame(mut self, dialect: Dialect) -> Result<Frame, DecodeError> {
        for line in self.needed.iter().flatten() {
            self.kept.extend_from_slice(line);
            self.lines.push(self.kept.len() - 1);
        }
        let mut frame = head::decode(&self.kept, &self.lines, dialect)?;
        frame.add_defect(self.defect);
        if head::can_be_answered(&frame, dialect) {
            Ok(frame)
        } else {
            Err(self.defect.into())
        }
    }
}

/// A body that exceeds the limit.
#[derive(Debug)]
pub(super) struct LongBody {
    frame: Frame,
    /// The first bytes of the body, and how many to keep.
    kept: BytesMut,
    prefix: usize,
    /// How many bytes are still to come; `None` without `content-length`.
    left: Option<usize>,
    /// How many bytes have been consumed.
    skipped: usize,
}

impl LongBody {
    /// Whether a body of this length is skipped rather than refused.
    pub(super) fn may_have(length: usize) -> bool {
        length <= MAX_SKIPPED_BODY
    }

    pub(super) fn new(frame: Frame, length: Option<usize>, limit: usize) -> Self {
        Self {
            frame,
            kept: BytesMut::new(),
            prefix: limit.min(PREFIX),
            left: length,
            skipped: 0,
        }
    }

    pub(super) fn take(mut self: Box<Self>, src: &mut BytesMut) -> Result<Step, DecodeError> {
        let length = match self.left {
            Some(left) => left.min(src.len()),
            None => memchr(0, src).unwrap_or(src.len()),
        };
        let first = length.min(self.prefix - self.kept.len());
        self.kept.extend_from_slice(&src[..first]);
        src.advance(length);
        self.skipped += length;
        self.left = self.left.map(|left| left - length);
        if !Self::may_have(self.skipped) {
            let [.., last] = self.frame.defects[..] else {
                return Err(DecodeError::MissingNul);
            };
            return Err(last.into());
        }
        match (self.left, src.first()) {
            (Some(1..), _) | (_, None) => Ok(Step::Wait(State::LongBody(self))),
            (_, Some(0)) => {
                src.advance(1);
                self.frame.body = self.kept.freeze();
                Ok(Step::Whole(self.frame))
            }
            (_, Some(_)) => Err(DecodeError::MissingNul),
        }
    }
}
