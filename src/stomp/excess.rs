//! The parts of a MESSAGE that are over a limit: they are skipped as they come, up to the end of the
//! frame, and no more of them is held than what answers the message.

use bytes::{Buf, BytesMut};
use memchr::memchr;

use super::decoder::{DecodeError, State, Step};
use super::defect::Defect;
use super::dialect::Dialect;
use super::frame::Frame;
use super::head;

/// So many times the limit of a head is skipped; then it counts as endless.
const HEADS: usize = 16;
/// The longest body that is skipped: no broker takes a longer message.
const LONGEST: usize = i32::MAX as usize;
/// How much of a body that is skipped is kept, to be recognized by.
const GLIMPSE: usize = 4 * 1024;

/// A head that is over a limit.
#[derive(Debug)]
pub(super) struct LongHead {
    /// Its lines within the limits, and where they end.
    kept: BytesMut,
    lines: Vec<usize>,
    /// Of the lines behind the limits those that are needed, in the order of their names.
    needed: [Option<BytesMut>; head::NEEDED.len()],
    defect: Defect,
    /// The longest line that is held.
    longest: usize,
    /// How many bytes of the head are gone by.
    passed: usize,
    /// Bytes at the front of the buffer that were searched in vain.
    searched: usize,
    /// Whether the line that is being read is too long to be looked at.
    is_dropped: bool,
}

impl LongHead {
    pub(super) fn new(kept: BytesMut, lines: Vec<usize>, defect: Defect, limit: usize) -> Self {
        Self {
            passed: kept.len(),
            kept,
            lines,
            needed: Default::default(),
            defect,
            longest: limit,
            searched: 0,
            is_dropped: false,
        }
    }

    /// The frame without its body, or the same again where its end is not there yet.
    pub(super) fn take(
        mut self: Box<Self>,
        src: &mut BytesMut,
        dialect: Dialect,
    ) -> Result<Result<Frame, Box<Self>>, DecodeError> {
        let most = self.longest.saturating_mul(HEADS);
        loop {
            let found = memchr(b'\n', &src[self.searched..]).map(|at| self.searched + at);
            if self.passed + found.unwrap_or(src.len()) > most {
                return Err(self.defect.into());
            }
            let Some(end) = found else {
                if src.len() > self.longest {
                    self.is_dropped = true;
                    self.passed += src.len();
                    src.clear();
                }
                self.searched = src.len();
                return Ok(Err(self));
            };
            self.passed += end + 1;
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

    /// Keeps a line that is needed: the first of its name, or the last, as that counts which does.
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
            // A copy, so that it does not keep the buffer that it came in.
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

/// A body that is over the limit.
#[derive(Debug)]
pub(super) struct LongBody {
    frame: Frame,
    /// The first bytes of it, and how many these may be.
    kept: BytesMut,
    glimpse: usize,
    /// How many bytes are to come, where its `content-length` says.
    left: Option<usize>,
    /// How many bytes are gone by.
    passed: usize,
}

impl LongBody {
    /// Whether there may be a body of this length.
    pub(super) fn may_have(length: usize) -> bool {
        length <= LONGEST
    }

    pub(super) fn new(frame: Frame, length: Option<usize>, limit: usize) -> Self {
        Self {
            frame,
            kept: BytesMut::new(),
            glimpse: limit.min(GLIMPSE),
            left: length,
            passed: 0,
        }
    }

    pub(super) fn take(mut self: Box<Self>, src: &mut BytesMut) -> Result<Step, DecodeError> {
        let length = match self.left {
            Some(left) => left.min(src.len()),
            None => memchr(0, src).unwrap_or(src.len()),
        };
        let first = length.min(self.glimpse - self.kept.len());
        self.kept.extend_from_slice(&src[..first]);
        src.advance(length);
        self.passed += length;
        self.left = self.left.map(|left| left - length);
        if !Self::may_have(self.passed) {
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
