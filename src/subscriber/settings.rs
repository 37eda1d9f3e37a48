//! The settings of a subscriber's engine.

use std::time::Duration;

use super::queue::Queue;
use crate::config::DeadLetter;

/// The settings that a session works by.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) queue: Queue,
    pub(super) workers: usize,
    pub(super) key_header: String,
    pub(super) dead_letter: DeadLetter,
    pub(super) attempts: u32,
    pub(super) first_delay: Duration,
    pub(super) longest_delay: Duration,
    pub(super) shutdown_timeout: Option<Duration>,
    pub(super) id_headers: Vec<String>,
    pub(super) consumer: String,
}
