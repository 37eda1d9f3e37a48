//! The executor: it claims calls whose names it knows, executes them and settles them.

mod delivery;
mod error;
mod event;
mod execution;
#[allow(clippy::module_inception)]
mod executor;
mod monitor;
mod observer;
mod scope;
mod transaction;
mod workers;

pub use error::ExecutorError;
pub use event::CallEvent;
pub(super) use execution::execute_here;
pub use executor::Executor;
pub use monitor::{ExecutorMonitor, ExecutorStats, ExecutorStatus};
pub(super) use observer::ExecutorObserver;
