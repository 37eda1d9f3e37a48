//! Writes models and their messages in one transaction.

mod cancel;
mod model;
mod operation;
pub(crate) mod ordering_key;
mod record;
mod save;
mod statement;

pub use cancel::cancel;
pub use model::{Publish, publish};
pub use operation::Operation;
pub use save::{Save, SaveOn, save};
pub use statement::PublishDsl;
