//! A MariaDB of a test's own. It speaks German, so that no English word is relied on.

use std::marker::PhantomData;

use diesel::connection::Connection;

use super::process::{Home, Server, done, free_port, program};
use crate::TestDatabase;

pub struct MariaDb<C> {
    port: u16,
    _server: Server,
    // After the server.
    _home: Home,
    connection: PhantomData<fn() -> C>,
}

impl<C: Connection> MariaDb<C> {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further options.
    pub fn start_with(options: &[&str]) -> Self {
        let home = Home::new("mysql");
        let paths = [
            "/usr/bin/mariadb-install-db",
            "/usr/local/bin/mariadb-install-db",
        ];
        let data = format!("--datadir={}", home.file("data").display());
        // Servers that are installed at the same time are not to share it.
        let temporary = format!("--tmpdir={}", home.path().display());
        // It holds nothing worth a disk's wait.
        let usual = [
            "--no-defaults",
            data.as_str(),
            temporary.as_str(),
            "--innodb-log-file-size=4M",
            "--innodb-flush-method=nosync",
        ];
        done(
            home.command(&program(&paths, "mariadb-server"))
                .args(usual)
                .args(["--auth-root-authentication-method=normal", "--skip-test-db"]),
        );
        let paths = [
            "/usr/sbin/mariadbd",
            "/usr/local/sbin/mariadbd",
            "/usr/bin/mariadbd",
        ];
        let port = free_port();
        let mut command = home.command(&program(&paths, "mariadb-server"));
        command
            .args(usual)
            .arg(format!("--socket={}", home.file("socket").display()))
            .arg(format!("--pid-file={}", home.file("pid").display()))
            .args(["--bind-address=127.0.0.1", "--innodb-buffer-pool-size=16M"])
            .args(["--lc-messages=de_DE", "--skip-name-resolve"])
            // It can be changed later only if it is set at the start.
            .arg("--max-user-connections=1000")
            .arg(format!("--port={port}"))
            .args(options);
        let url = url(port, "root", "mysql");
        let answers = || C::establish(&url).is_ok();
        Self {
            port,
            _server: Server::start(&home, &mut command, answers),
            _home: home,
            connection: PhantomData,
        }
    }

    pub fn url(&self, user: &str, database: &str) -> String {
        url(self.port, user, database)
    }

    pub fn admin(&self) -> C {
        C::establish(&self.url("root", "mysql")).unwrap()
    }

    /// A database of a user `app` who may neither write to a read-only server nor use the connection that is
    /// kept for root.
    pub fn database(&self) -> TestDatabase {
        let mut admin = self.admin();
        for statement in [
            "create database app",
            "create user app@'%' identified by 'secret'",
            "grant all on app.* to app@'%'",
        ] {
            admin.batch_execute(statement).unwrap();
        }
        TestDatabase::at(self.url("app:secret", "app"))
    }
}

fn url(port: u16, user: &str, database: &str) -> String {
    format!("mysql://{user}@127.0.0.1:{port}/{database}")
}
