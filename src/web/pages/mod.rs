//! The pages.

pub(super) mod assets;
mod chart;
#[cfg(feature = "cli")]
pub(super) mod checks;
pub(super) mod dead_letters;
pub(super) mod inbox;
pub(super) mod job;
pub(super) mod layout;
pub(super) mod overview;
mod parts;
pub(super) mod row;
pub(super) mod row_change;
pub(super) mod rows;
pub(super) mod stream_change;
pub(super) mod trail;
