//! The server's limits of sessions: how long they live, and how many there may be.

use std::time::Duration;

use super::check::Check;
use super::database::Database;
use super::queues::Subscribed;
use crate::backend::inspection::{ConnectionsLeft, Inspection, SessionLimits};
use crate::config::Config;

const IDLE: &str = "database.idle_sessions";
const TRANSACTIONS: &str = "database.transactions";
const LEFT: &str = "database.connections";

/// The connections of a relay: docs/production.md, "Connections".
const OF_RELAY: u32 = 3;
/// Those beside the pool: the one that waits for new rows.
const OF_WATCH: u32 = 1;
/// A connection of a subscriber beside those of its workers.
const OF_CLEANUP: u32 = 1;
/// The longest time for which a pool keeps an idle session before it notices.
const SHORT: Duration = Duration::from_secs(30);

pub(super) async fn check<C: Inspection>(database: &mut Database<'_, C>, queues: &[Subscribed]) {
    let Some(limits) = database.ask(LEFT, C::session_limits).await else {
        return;
    };
    if let Some(check) = idle(&limits, C::HAS_IDLE_WATCH && database.config.wake_up) {
        database.push(check);
    }
    if let Some(check) = transactions(&limits, database.config) {
        database.push(check);
    }
    if let Some(left) = limits.connections {
        let check = connections(left, database.config, queues);
        database.push(check);
    }
}

/// On PostgreSQL a relay's connection waits for notifications, and is idle between them.
fn idle(limits: &SessionLimits, waits_idle: bool) -> Option<Check> {
    let (name, limit) = limits.idle?;
    let shown = humantime::format_duration(limit);
    let check = if waits_idle {
        Check::warning(
            IDLE,
            format_args!(
                "{name} is {shown}: after each such time without a new row the server ends the connection that \
                 waits for rows, and the relay opens another one"
            ),
            format_args!("`alter role … set {name} = 0` for the user of the programs"),
        )
    } else if limit < SHORT {
        Check::warning(
            IDLE,
            format_args!("{name} is {shown}: connections are opened again and again"),
            format_args!("raise {name} for the user of the programs to 30 s or more"),
        )
    } else {
        Check::ok(IDLE, format_args!("{name} is {shown}"))
    };
    Some(check)
}

fn transactions(limits: &SessionLimits, config: &Config) -> Option<Check> {
    let (name, limit) = limits.transaction?;
    let shown = humantime::format_duration(limit);
    Some(if limit < config.statement_timeout {
        Check::warning(
            TRANSACTIONS,
            format_args!(
                "{name} is {shown}: the server ends the session of a longer claim, or of a callback whose transaction \
                 takes longer"
            ),
            format_args!("`alter role … set {name} = 0` for the user of the programs"),
        )
    } else {
        Check::ok(TRANSACTIONS, format_args!("{name} is {shown}"))
    })
}

fn connections(found: ConnectionsLeft, config: &Config, queues: &[Subscribed]) -> Check {
    let ConnectionsLeft { left, limit } = found;
    let of_pool = |size: u32| config.database_pool_size.unwrap_or(size);
    let relay = of_pool(OF_RELAY) + if config.wake_up { OF_WATCH } else { 0 };
    let subscribers: u32 = queues
        .iter()
        .map(|queue| {
            let workers = u32::try_from(queue.workers).unwrap_or(u32::MAX);
            of_pool(workers.saturating_add(OF_CLEANUP))
        })
        .fold(0, u32::saturating_add);
    let needed = i64::from(relay) + i64::from(subscribers);
    let text = format!(
        "{left} of {limit} are left; a relay with these settings takes up to {relay}{}",
        match queues.len() {
            0 => String::new(),
            1 => format!(", and the subscription {subscribers}"),
            count => format!(", and the {count} subscriptions {subscribers}"),
        }
    );
    if left >= needed {
        return Check::ok(LEFT, text);
    }
    Check::warning(
        LEFT,
        text,
        "raise max_connections or the limit of the user, or lower database_pool_size and workers; if these \
         programs run already, their connections are among those in use",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn connections_are_compared_with_what_the_settings_need() {
        let left = |left| ConnectionsLeft { left, limit: 100 };
        let config = Config::default();
        let check = connections(left(4), &config, &[]);
        assert_eq!(check.verdict, Verdict::Ok, "{check:?}");
        assert!(
            check.text.starts_with("4 of 100 are left; a relay"),
            "{check:?}"
        );
        assert_eq!(connections(left(3), &config, &[]).verdict, Verdict::Warning);
        let config = Config {
            database_pool_size: Some(20),
            wake_up: false,
            ..Config::default()
        };
        assert_eq!(connections(left(20), &config, &[]).verdict, Verdict::Ok);
        assert_eq!(
            connections(left(19), &config, &[]).verdict,
            Verdict::Warning
        );
    }

    #[test]
    fn a_transaction_may_take_as_long_as_a_statement() {
        let config = Config::default();
        let verdict = |seconds| {
            let limits = SessionLimits {
                transaction: Some(("transaction_timeout", Duration::from_secs(seconds))),
                ..SessionLimits::default()
            };
            transactions(&limits, &config).map(|check| check.verdict)
        };
        assert_eq!(verdict(29), Some(Verdict::Warning));
        assert_eq!(verdict(30), Some(Verdict::Ok));
        assert!(transactions(&SessionLimits::default(), &config).is_none());
    }

    #[test]
    fn an_idle_session_may_be_ended_only_where_none_has_to_wait() {
        let limits = |seconds| SessionLimits {
            idle: Some(("idle_session_timeout", Duration::from_secs(seconds))),
            ..SessionLimits::default()
        };
        let verdict =
            |limits: &SessionLimits, waits| idle(limits, waits).map(|check| check.verdict);
        assert_eq!(verdict(&limits(600), true), Some(Verdict::Warning));
        assert_eq!(verdict(&limits(600), false), Some(Verdict::Ok));
        assert_eq!(verdict(&limits(5), false), Some(Verdict::Warning));
        assert_eq!(verdict(&SessionLimits::default(), true), None);
    }
}
