//! What the snapshots of a relay and of a subscriber have in common.

mod broker_connection;
mod last_error;
mod last_turn;
mod rate;

pub use broker_connection::BrokerConnection;
pub use last_error::LastError;
pub(crate) use last_turn::{LONGEST_TURN, LastTurn};
pub(crate) use rate::Rate;
