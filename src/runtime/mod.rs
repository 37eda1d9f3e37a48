//! What the relay and the subscriber run on: tasks, outages, shutdown, clean-up, clocks.

#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod cleanup;
pub(crate) mod lease_clock;
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod outage;
#[cfg(feature = "subscriber")]
pub(crate) mod process_group;
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod shutdown;
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod task;
#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) mod time_limit;
