//! The settings of the engine.

use std::time::Duration;

#[cfg(feature = "calls")]
use crate::backend::CALLS;
use crate::backend::{LifecycleTable, PUBLISHED, Scope};
use crate::config::Config;
#[cfg(feature = "calls")]
use crate::retry_policy::RetryPolicy;

use super::retry::RetryRules;
use super::signatures::SignatureCheck;

/// The settings of the engine.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) table: LifecycleTable,
    /// Whether leases are renewed while their rows are delivered, so that a delivery may outlast a lease.
    pub(crate) renews_leases: bool,
    /// Whether one row of a key is in flight at a time.
    pub(crate) one_of_a_key: bool,
    pub(crate) chunk_size: usize,
    pub(crate) scope: Scope,
    pub(crate) window: usize,
    pub(crate) maximum_message_size: usize,
    pub(crate) memory_limit: usize,
    pub(crate) lease: Duration,
    pub(crate) poll_interval: Duration,
    pub(crate) shutdown_timeout: Option<Duration>,
    pub(crate) maximum_backoff: Duration,
    pub(crate) retry: RetryRules,
    pub(crate) signatures: SignatureCheck,
    pub(crate) breaker_failures: usize,
    pub(crate) breaker_pause: Duration,
}

impl Settings {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            table: PUBLISHED,
            renews_leases: false,
            one_of_a_key: false,
            chunk_size: config.chunk_size,
            scope: Scope {
                streams: config.stream.clone(),
                destinations: config.destination.clone(),
                ordered_streams: config.ordered_stream.clone(),
                ordered_destinations: config.ordered_destination.clone(),
                ..Scope::default()
            },
            window: config.window,
            maximum_message_size: config.maximum_message_size,
            memory_limit: config.memory_limit,
            lease: config.lease,
            poll_interval: config.poll_interval,
            shutdown_timeout: config.shutdown_timeout,
            maximum_backoff: config.maximum_backoff,
            retry: RetryRules::new(config),
            signatures: SignatureCheck::new(config),
            breaker_failures: usize::try_from(config.breaker_failures).unwrap_or(usize::MAX),
            breaker_pause: config.breaker_pause,
        }
    }

    /// The settings of an executor of these functions, each with its retry policy.
    #[cfg(feature = "calls")]
    pub(crate) fn of_calls<'a>(
        config: &Config,
        functions: impl Iterator<Item = (&'a str, RetryPolicy)>,
    ) -> Self {
        let functions: Vec<(&str, RetryPolicy)> = functions.collect();
        let names = functions.iter().map(|(name, _)| (*name).to_owned());
        Self {
            table: CALLS,
            renews_leases: true,
            one_of_a_key: true,
            scope: Scope {
                streams: config.stream.clone(),
                destinations: names.collect(),
                ..Scope::default()
            },
            maximum_message_size: i32::MAX as usize,
            lease: config.call_lease,
            retry: RetryRules::of_calls(config, &functions),
            // One function's failures say nothing about the arguments of its other calls.
            breaker_failures: 0,
            ..Self::new(config)
        }
    }
}
