//! How much a claim may bring.

use crate::backend::Room;

use super::memory::Memory;
use super::settings::Settings;

/// Rows of the first claim, which shows how large rows are.
const FIRST_CLAIM: usize = 32;

/// The memory of the rows that were claimed, and the room that is left for more.
#[derive(Debug)]
pub(super) struct ClaimRoom {
    /// Bytes of the rows in memory.
    memory: Memory,
    /// Bytes that a claim brings at most: they are in memory twice while they are read.
    piece: usize,
    /// Rows that a claim brings at most.
    rows: usize,
    largest: usize,
    /// Bytes of a row, on average over the last claim.
    mean_size: Option<usize>,
    /// The next row is larger than the room was: it is claimed when nothing else is in memory.
    waits_for_memory: bool,
}

impl ClaimRoom {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            // The rest is for the hooks, and for what is read twice.
            memory: Memory::new(settings.memory_limit / 8 * 5),
            piece: settings.memory_limit / 8,
            rows: settings.chunk_size,
            largest: settings.maximum_message_size,
            mean_size: None,
            waits_for_memory: false,
        }
    }

    /// The memory of the rows.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Whether there is memory for the largest claim.
    pub(super) fn has_memory(&self) -> bool {
        self.memory.is_empty() || (self.memory.room() >= self.piece && !self.waits_for_memory)
    }

    /// Whether the next row waits for memory.
    pub(super) fn waits_for_memory(&self) -> bool {
        self.waits_for_memory
    }

    /// The room for the claim that begins now.
    pub(super) fn begin(&mut self) -> Room {
        self.waits_for_memory = false;
        let fitting = self
            .mean_size
            .map_or(self.rows.min(FIRST_CLAIM), |size| self.piece / size.max(1));
        Room {
            rows: fitting.clamp(1, self.rows),
            bytes: self.piece,
            largest: self.largest,
            any_first: self.memory.is_empty(),
        }
    }

    /// Learns from a claim.
    pub(super) fn learn(&mut self, claim: &crate::backend::Claim) {
        self.mean_size = claim.mean_size.or(self.mean_size);
        self.waits_for_memory = claim.rows.is_empty() && claim.too_many > 0;
    }
}
