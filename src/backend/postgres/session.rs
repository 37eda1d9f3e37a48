//! The setup of a session on PostgreSQL.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};

use crate::backend::qualify::RunQueryDsl;
use crate::backend::session::{Limits, Purpose, Session, whole_seconds};
use crate::config::{Config, conninfo};

/// Unanswered TCP keepalive probes after which a connection is dead.
const PROBES: u32 = 3;

/// The lock timeout is half of the limit, so that the error names the lock. Shorter limits of the server stay:
/// otherwise the second connection would wait for a lock that its message's connection has given up.
fn limits(limit: Duration) -> Limits {
    let limit = limit.as_millis().clamp(2, 2_147_483_647);
    let locks = format!(
        "select set_config('outbox.lock_timeout', current_setting('lock_timeout'), false); {}",
        at_most("lock_timeout", limit / 2)
    );
    Limits {
        all: format!("{locks} {}", at_most("statement_timeout", limit)),
        locks,
        lift: "select set_config('lock_timeout', current_setting('outbox.lock_timeout'), false)",
    }
}

/// A statement that gives a time limit of the server this value in ms, if it is longer or 0.
fn at_most(setting: &str, limit: u128) -> String {
    format!(
        "select set_config(name, '{limit}', false) from pg_catalog.pg_settings
            where case name when '{setting}' then setting::bigint not between 1 and {limit} else false end;"
    )
}

/// Errors of the server in English, if the user may set that: Diesel hides the SQLSTATEs. The
/// setting is reserved to superusers, who can grant it from PostgreSQL 15 on; for others nothing happens.
const ENGLISH: &str = "\
do $$ begin
    perform set_config('lc_messages', 'C', false);
exception when others then null;
end $$;";

/// Each statement of ours sees what is committed when it starts. The server's or the database's
/// own level may be SERIALIZABLE, at which other transactions would make it fail.
const ISOLATION: &str =
    "select set_config('default_transaction_isolation', 'read committed', false);";

pub(crate) fn new(config: &Config, purpose: Purpose) -> Session {
    let mut setup = ENGLISH.to_owned();
    if purpose != Purpose::Callbacks {
        setup.push_str(ISOLATION);
    }
    let mut parameters = vec![(
        "connect_timeout",
        whole_seconds(config.database_timeout).to_string(),
    )];
    if let Some(limit) = purpose.limit() {
        let limit = limit.as_millis().clamp(1, 2_147_483_647);
        for name in ["statement_timeout", "idle_in_transaction_session_timeout"] {
            setup.push_str(&format!(
                "select set_config('{name}', '{limit}', false)
                 where current_setting('{name}') = '0';"
            ));
        }
    }
    if let Some(keepalive) = config.database_keepalive {
        let idle = whole_seconds(keepalive).min(1_000_000);
        let interval = (idle / PROBES).max(1);
        let lost = u64::from(idle + interval * PROBES) * 1_000;
        // The server also notices a dead client, and releases its locks.
        setup.push_str(&format!(
            "select set_config('tcp_keepalives_idle', '{idle}', false),
                set_config('tcp_keepalives_interval', '{interval}', false),
                set_config('tcp_keepalives_count', '{PROBES}', false);"
        ));
        parameters.extend([
            ("keepalives_idle", idle.to_string()),
            ("keepalives_interval", interval.to_string()),
            ("keepalives_count", PROBES.to_string()),
            ("tcp_user_timeout", lost.to_string()),
        ]);
    }
    Session {
        setup,
        parameters,
        limits: limits(config.statement_timeout),
        complete,
        ..Session::default()
    }
}

/// Writes the statement for the settings that are changed here. A setting that has not changed is left alone:
/// the user may lack the right to set it.
const SETTINGS: &str = "\
select 'select set_config(name, value, false) from (values '
    || string_agg(format('(%L, %L)', name, current_setting(name)), ', ')
    || ') as settings (name, value) where current_setting(name) <> value' as statement
from unnest(array['lc_messages', 'default_transaction_isolation', 'statement_timeout', 'lock_timeout',
    'idle_in_transaction_session_timeout', 'tcp_keepalives_idle', 'tcp_keepalives_interval',
    'tcp_keepalives_count']) as name";

/// A statement that gives the session its present settings back.
pub(super) fn settings(conn: &mut PgConnection) -> QueryResult<String> {
    #[derive(QueryableByName)]
    struct Settings {
        #[diesel(sql_type = Text)]
        statement: String,
    }

    let settings: Settings = diesel::sql_query(SETTINGS).get_result(conn)?;
    Ok(settings.statement)
}

/// Whether the server is a standby, or the session is read-only.
pub(super) fn is_read_only(conn: &mut PgConnection) -> QueryResult<bool> {
    diesel::select(sql::<Bool>(
        "current_setting('transaction_read_only') = 'on'",
    ))
    .get_result(conn)
}

/// Adds the missing parameters to an address.
fn complete(session: &Session, address: &str) -> String {
    if !address.contains("://") {
        return complete_keywords(session, address);
    }
    let query = address.split_once('?').map_or("", |(_, query)| query);
    let names: Vec<&str> = query
        .split('&')
        .filter_map(|pair| pair.split('=').next())
        .collect();
    let mut complete = address.to_owned();
    let mut separator = match address.strip_suffix(['?', '&']) {
        Some(_) => "",
        None if address.contains('?') => "&",
        None => "?",
    };
    for (name, value) in &session.parameters {
        if names.contains(name) {
            continue;
        }
        complete.push_str(&format!("{separator}{name}={value}"));
        separator = "&";
    }
    complete
}

/// The same for libpq's keyword form.
fn complete_keywords(session: &Session, address: &str) -> String {
    let given = conninfo::parameters(address).unwrap_or_default();
    let lacks = |name: &str| !given.iter().any(|(other, _)| *other == name);
    let more = session.parameters.iter().filter(|(name, _)| lacks(name));
    let more = more.map(|(name, value)| format!(" {name}={value}"));
    std::iter::once(address.to_owned()).chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_address_says_itself_counts_more() {
        let config = Config::default();
        let session = new(&config, Purpose::Commands);
        assert_eq!(
            session.complete("postgres://u:p@h/d"),
            "postgres://u:p@h/d?connect_timeout=5&keepalives_idle=15&keepalives_interval=5\
             &keepalives_count=3&tcp_user_timeout=30000"
        );
        assert_eq!(
            session
                .complete("postgres://h/d?connect_timeout=1&tcp_user_timeout=0&keepalives_idle=9"),
            "postgres://h/d?connect_timeout=1&tcp_user_timeout=0&keepalives_idle=9\
             &keepalives_interval=5&keepalives_count=3"
        );
        for end in ["?", "?sslmode=require&"] {
            let url = format!("postgres://h/d{end}");
            let complete = session.complete(&url);
            assert!(
                complete.starts_with(&format!("{url}connect_timeout=5&")),
                "{complete}"
            );
        }
        let config = Config {
            database_keepalive: None,
            ..Config::default()
        };
        let session = new(&config, Purpose::Commands);
        assert_eq!(
            session.complete("postgres://h/d"),
            "postgres://h/d?connect_timeout=5"
        );
    }

    #[test]
    fn keywords_are_completed_as_keywords() {
        let config = Config::default();
        let text = "host=h password='a b' keepalives_idle=9";
        let session = new(&config, Purpose::Commands);
        assert_eq!(
            session.complete(text),
            format!(
                "{text} connect_timeout=5 keepalives_interval=5 keepalives_count=3 \
                 tcp_user_timeout=30000"
            )
        );
    }
}
