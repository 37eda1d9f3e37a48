//! A PostgreSQL of a test's own. It speaks German, so that no English word is relied on.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process::Command;

use diesel::connection::{Connection, SimpleConnection};
use rustix::process::Signal;

use super::process::{Home, Server, done, free_port, program};
use crate::TestDatabase;

/// A cluster, primary or standby.
pub struct Cluster<C> {
    server: Option<Server>,
    port: u16,
    programs: PathBuf,
    has_small_disk: bool,
    // After the server.
    home: Home,
    connection: PhantomData<fn() -> C>,
}

impl<C: Connection> Cluster<C> {
    /// A primary with these lines in its configuration.
    pub fn start(configuration: &str) -> Self {
        let mut cluster = Self::prepare(configuration);
        cluster.run();
        cluster
    }

    /// The same with these files beside its configuration: certificates, or another `pg_hba.conf`, which
    /// has to let in `postgres`.
    pub fn with_files(configuration: &str, files: &[(&str, &str)]) -> Self {
        let mut cluster = Self::prepare(configuration);
        for (name, text) in files {
            cluster.home.write(&format!("data/{name}"), text);
        }
        cluster.run();
        cluster
    }

    /// The same with a tablespace `small` on a disk of this size.
    pub fn with_small_disk() -> Self {
        // Nothing makes room by itself.
        let mut cluster = Self::prepare("autovacuum = off");
        std::fs::create_dir(cluster.home.file("small")).unwrap();
        cluster.has_small_disk = true;
        cluster.run();
        let directory = cluster.home.file("small");
        cluster
            .admin()
            .batch_execute(&format!(
                "create tablespace small location '{}'",
                directory.display()
            ))
            .unwrap();
        cluster
    }

    fn prepare(configuration: &str) -> Self {
        let cluster = Self::bare();
        done(
            cluster
                .command("initdb")
                .arg("-D")
                .arg(cluster.data())
                .args(["-U", "postgres", "--auth=trust", "-E", "UTF8"])
                .args(["--locale=C.UTF-8", "--no-sync"]),
        );
        cluster.configure(&format!(
            "fsync = off\nshared_buffers = 16MB\nlc_messages = 'de_DE.UTF-8'\n{configuration}"
        ));
        cluster
    }

    /// A standby of this one.
    pub fn standby(&self, configuration: &str) -> Self {
        let mut standby = Self::bare();
        done(
            standby
                .command("pg_basebackup")
                .args(["-h", "127.0.0.1", "-U", "postgres", "-p"])
                .arg(self.port.to_string())
                .args(["-R", "-c", "fast", "--no-sync", "-D"])
                .arg(standby.data()),
        );
        standby.configure(configuration);
        standby.run();
        standby
    }

    fn bare() -> Self {
        let home = Home::new("postgres");
        done(
            Command::new("localedef")
                .args(["--no-archive", "-i", "de_DE", "-f", "UTF-8"])
                .arg(home.file("de_DE.UTF-8")),
        );
        Self {
            server: None,
            port: free_port(),
            programs: programs(),
            has_small_disk: false,
            home,
            connection: PhantomData,
        }
    }

    /// Adds lines to the configuration; the last ones count.
    pub fn configure(&self, lines: &str) {
        use std::io::Write as _;
        let path = self.data().join("postgresql.conf");
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        write!(file, "\n{lines}\n").unwrap();
    }

    fn data(&self) -> PathBuf {
        self.home.file("data")
    }

    fn command(&self, name: &str) -> Command {
        let mut command = self.home.command(&self.programs.join(name));
        command.env("LOCPATH", self.home.path());
        command
    }

    /// Starts it again, or for the first time, and waits until it is there.
    pub fn run(&mut self) {
        let mut command = if self.has_small_disk {
            let directory = self.home.file("small");
            let program = self.programs.join("postgres");
            self.home
                .command_with_small_disk(&program, &directory, "24m")
        } else {
            self.command("postgres")
        };
        command.env("LOCPATH", self.home.path());
        command
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.home.path());
        command.args(["-c", "listen_addresses=127.0.0.1", "-p"]);
        command.arg(self.port.to_string());
        let url = self.url("postgres", "postgres");
        let answers = || match C::establish(&url) {
            Ok(mut conn) => {
                speaks_german(&mut conn);
                true
            }
            // One that lets nobody in, as a standby may be.
            Err(error) => error.to_string().contains("Hot-Standby"),
        };
        self.server = Some(Server::start(&self.home, &mut command, answers));
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of a database for a role.
    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn admin(&self) -> C {
        C::establish(&self.url("postgres", "postgres")).unwrap()
    }

    /// A database of a role `app` that is no superuser.
    pub fn database(&self) -> TestDatabase {
        self.database_with("")
    }

    pub fn database_with(&self, options: &str) -> TestDatabase {
        let mut admin = self.admin();
        admin
            .batch_execute("create role app login password 'secret'")
            .unwrap();
        admin
            .batch_execute(&format!("create database app owner app {options}"))
            .unwrap();
        TestDatabase::at(self.url("app", "app"))
    }

    /// Lets in only who is let in by these lines of `pg_hba.conf`, and `postgres`.
    pub fn let_in(&self, lines: &str) {
        let text = format!("host all postgres 127.0.0.1/32 trust\n{lines}\n");
        std::fs::write(self.data().join("pg_hba.conf"), text).unwrap();
        self.admin()
            .batch_execute("select pg_reload_conf()")
            .unwrap();
    }

    /// Makes a standby a primary. Returns at once.
    pub fn promote(&self) {
        done(
            self.command("pg_ctl")
                .args(["promote", "--no-wait", "-D"])
                .arg(self.data()),
        );
    }

    pub fn signal(&self, signal: Signal) {
        self.server.as_ref().unwrap().signal(signal);
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) {
        self.server.take().unwrap().wait();
    }

    pub fn log(&self) -> String {
        self.home.log()
    }
}

fn speaks_german(conn: &mut impl SimpleConnection) {
    let error = conn.batch_execute("select 1/0").unwrap_err().to_string();
    assert_eq!(
        error, "Division durch Null",
        "PostgreSQL's German messages are missing: install its package with /usr/share/locale"
    );
}

/// Where its programs are: of several versions the last.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut found: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|programs| programs.join("initdb").exists())
        .collect();
    found.sort_by_key(|path| version(path));
    found.pop().unwrap_or_else(|| {
        let path = program(&["/usr/bin/initdb", "/usr/local/bin/initdb"], "postgresql");
        path.parent().unwrap().to_owned()
    })
}

fn version(programs: &Path) -> u32 {
    let version = programs.parent().and_then(Path::file_name);
    version
        .and_then(|version| version.to_str()?.parse().ok())
        .unwrap_or(0)
}
