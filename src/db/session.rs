//! What a new session is asked for, and how its address is completed.

use std::time::Duration;

use super::Address;
use crate::config::Config;

/// Unanswered questions of TCP after which a connection is dead.
const PROBES: u32 = 3;

/// How connections are opened.
#[derive(Debug, Clone, Default)]
pub(super) struct Session {
    /// What is said on a new connection.
    pub(super) setup: String,
    /// Whether it has to succeed.
    pub(super) is_needed: bool,
    /// Parameters that the address gets unless it has them.
    parameters: Vec<(&'static str, String)>,
    pub(super) limits: Limits,
}

/// Statements by which the server ends what waits too long on a connection of a message's own, and on
/// the one beside it. None where locks are never waited for without an end.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    /// A lock is not waited for longer than statements of ours may take.
    pub(super) locks: String,
    /// As it was before.
    pub(super) lift: &'static str,
    /// Neither a lock nor a statement is, where no callback works.
    pub(super) all: String,
}

impl Limits {
    /// Locks have half the time, so that it shows that it was a lock.
    fn postgres(limit: Duration) -> Self {
        let limit = limit.as_millis().clamp(2, 2_147_483_647);
        let locks = format!("set lock_timeout = {};", limit / 2);
        Self {
            all: format!("{locks} set statement_timeout = {limit}"),
            locks,
            lift: "reset lock_timeout",
        }
    }

    fn mysql(limit: Duration) -> Self {
        let (locks, limit) = (whole(limit / 2), limit.as_secs_f64().max(0.001));
        let locks = format!(
            "set @outbox_rows = @@innodb_lock_wait_timeout, @outbox_tables = @@lock_wait_timeout,
                 innodb_lock_wait_timeout = least(@@innodb_lock_wait_timeout, {locks}),
                 lock_wait_timeout = least(@@lock_wait_timeout, {locks});"
        );
        Self {
            // MySQL refuses the last name.
            all: format!(
                "{locks} set max_statement_time = {}",
                limit.min(31_536_000.0)
            ),
            locks,
            lift: "set innodb_lock_wait_timeout = @outbox_rows, lock_wait_timeout = @outbox_tables",
        }
    }
}

/// The server's errors in English, as far as we may ask for it: Diesel hides the SQLSTATEs. The
/// setting is the superuser's, who may grant it from PostgreSQL 15 on; for others nothing happens.
const POSTGRES: &str = "\
do $$ begin
    perform set_config('lc_messages', 'C', false);
exception when others then null;
end $$;";
/// The same for the texts of MySQL and MariaDB, where anybody may.
const MYSQL: &str = "set lc_messages = 'en_US';";

impl Session {
    /// As the settings say. `limit` is for connections that no callback works on: the server ends a
    /// statement after it, too, so that one which nobody waits for any more holds no lock.
    pub(super) fn new(address: &Address, config: &Config, limit: Option<Duration>) -> Self {
        match address {
            // Writers take turns: wait for the other's commit instead of failing at once.
            Address::Sqlite(_) => Self {
                setup: format!(
                    "pragma busy_timeout = {}",
                    config.database_timeout.as_millis().clamp(1, 600_000)
                ),
                is_needed: true,
                parameters: Vec::new(),
                limits: Limits::default(),
            },
            Address::Postgres(_) => Self::postgres(config, limit),
            Address::Mysql(_) => Self {
                setup: limit.map_or(MYSQL.to_owned(), |limit| {
                    // A session that is silent in the middle of a claim is to give up its lock. The last
                    // one is MariaDB's: MySQL, which has none for writes, refuses the name.
                    let (idle, limit) =
                        (whole(limit), limit.as_secs_f64().clamp(0.001, 31_536_000.0));
                    format!(
                        "{MYSQL} set wait_timeout = least(@@wait_timeout, {idle});
                         set max_statement_time =
                             if(@@max_statement_time = 0, {limit}, @@max_statement_time)"
                    )
                }),
                is_needed: false,
                parameters: Vec::new(),
                limits: Limits::mysql(config.statement_timeout),
            },
        }
    }

    fn postgres(config: &Config, limit: Option<Duration>) -> Self {
        let mut setup = POSTGRES.to_owned();
        let mut parameters = vec![(
            "connect_timeout",
            whole(config.database_timeout).to_string(),
        )];
        if let Some(limit) = limit {
            let limit = limit.as_millis().clamp(1, 2_147_483_647);
            for name in ["statement_timeout", "idle_in_transaction_session_timeout"] {
                setup.push_str(&format!(
                    "select set_config('{name}', '{limit}', false)
                     where current_setting('{name}') = '0';"
                ));
            }
        }
        if let Some(keepalive) = config.database_keepalive {
            let idle = whole(keepalive).min(1_000_000);
            let interval = (idle / PROBES).max(1);
            let lost = u64::from(idle + interval * PROBES) * 1_000;
            // The server is to notice as well, and to give up our locks.
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
        Self {
            setup,
            is_needed: false,
            parameters,
            limits: Limits::postgres(config.statement_timeout),
        }
    }

    /// The address with the parameters that it does not have.
    pub(super) fn complete(&self, url: &str) -> String {
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let names: Vec<&str> = query
            .split('&')
            .filter_map(|pair| pair.split('=').next())
            .collect();
        let mut complete = url.to_owned();
        let mut glue = if url.contains('?') { '&' } else { '?' };
        for (name, value) in &self.parameters {
            if names.contains(name) {
                continue;
            }
            complete.push_str(&format!("{glue}{name}={value}"));
            glue = '&';
        }
        complete
    }
}

/// Whole seconds, at least one.
fn whole(time: Duration) -> u32 {
    u32::try_from(time.as_secs_f64().ceil() as u64)
        .unwrap_or(u32::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn what_the_address_says_itself_counts_more() {
        let config = Config::default();
        let address = Address::Postgres(Secret::new("postgres://h/d"));
        let session = Session::new(&address, &config, None);
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
        let config = Config {
            database_keepalive: None,
            ..Config::default()
        };
        let session = Session::new(&address, &config, None);
        assert_eq!(
            session.complete("postgres://h/d"),
            "postgres://h/d?connect_timeout=5"
        );
        let address = Address::Mysql(Secret::new("mysql://h/d"));
        let session = Session::new(&address, &config, None);
        assert_eq!(session.complete("mysql://h/d"), "mysql://h/d");
    }
}
