//! A PgBouncer of a test's own.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use super::process::{Home, Server, free_port, program};

/// A PgBouncer, which ends when this is dropped.
pub struct PgBouncer {
    port: u16,
    _server: Server,
    // After the server.
    _home: Home,
}

impl PgBouncer {
    /// Before the PostgreSQL server at this host and port, whose user is `postgres`.
    pub fn start(server: &str, settings: &str) -> Self {
        let (host, port) = server.split_once(':').unwrap();
        let own = free_port();
        let config = format!(
            "[databases]\n* = host={host} port={port} user=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {own}\nunix_socket_dir =\nauth_type = any\n{settings}\n"
        );
        let home = Home::new("postgres");
        home.write("pgbouncer.ini", &config);
        let mut command = home.command(&path());
        command.args(["-q", "pgbouncer.ini"]);
        let answers = || TcpStream::connect(("127.0.0.1", own)).is_ok();
        Self {
            port: own,
            _server: Server::start(&home, &mut command, answers),
            _home: home,
        }
    }

    /// The major and the minor version of the program.
    pub fn version() -> (u32, u32) {
        let output = Command::new(path()).arg("--version").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let version = text
            .strip_prefix("PgBouncer ")
            .and_then(|version| version.split_once('.'))
            .and_then(|(major, rest)| {
                let minor = rest.split(|character: char| !character.is_ascii_digit());
                Some((major.parse().ok()?, minor.into_iter().next()?.parse().ok()?))
            });
        version.unwrap_or_else(|| panic!("an unknown version: {text}"))
    }

    /// The address of a database through it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

fn path() -> PathBuf {
    let paths = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];
    // Another version than the machine's: see scripts/current-servers.
    match std::env::var_os("OUTBOX_TEST_PGBOUNCER") {
        Some(path) => path.into(),
        None => program(&paths, "pgbouncer"),
    }
}
