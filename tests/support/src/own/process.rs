//! A server as a process, with a directory of its own.

use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// Mounts a file system at `$1` of size `$2` for user `$3`, and becomes the program.
const MOUNT: &str = r#"
directory=$1 size=$2 user=$3
shift 3
mount -t tmpfs -o "size=$size" tmpfs "$directory" || {
    echo 'no file system can be mounted: the test needs root with CAP_SYS_ADMIN, or user namespaces'
    exit 1
}
[ "$(id -u)" != 0 ] || chown "$user" "$directory"
exec setpriv "$@"
"#;

/// A directory that the server's user owns.
pub(super) struct Home {
    directory: TempDir,
    user: &'static str,
}

impl Home {
    pub(super) fn new(user: &'static str) -> Self {
        let directory = tempfile::Builder::new()
            .prefix(&format!("outbox-own-{user}."))
            .tempdir_in("/tmp")
            .unwrap();
        let home = Self { directory, user };
        if geteuid().is_root() {
            done(Command::new("chown").arg(user).arg(home.path()));
        }
        home
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file that only the server's user may read.
    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.file(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        if geteuid().is_root() {
            done(Command::new("chown").arg(self.user).arg(&path));
        }
    }

    /// A command of the server's user. It ends with us, however we end.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(self.privileges()).arg("--").arg(program);
        command.current_dir(self.path());
        command
    }

    /// The same, for a program that sees a file system of this size in memory at `directory`. The mount
    /// is the program's own, and ends with it.
    pub(super) fn command_with_small_disk(
        &self,
        program: &Path,
        directory: &Path,
        size: &str,
    ) -> Command {
        let mut command = Command::new("unshare");
        command.current_dir(self.path());
        if !geteuid().is_root() {
            command.args(["--user", "--map-current-user", "--keep-caps"]);
        }
        command.args(["--mount", "sh", "-c", MOUNT, "sh"]);
        command.arg(directory).args([size, self.user]);
        command.args(self.privileges()).arg("--").arg(program);
        command
    }

    fn privileges(&self) -> Vec<&'static str> {
        let mut all = vec!["--pdeathsig", "KILL"];
        if geteuid().is_root() {
            all.extend(["--reuid", self.user, "--regid", self.user, "--init-groups"]);
        }
        all
    }

    /// The end of the server's log.
    pub(super) fn log(&self) -> String {
        let log = std::fs::read(self.file("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// A server that runs.
pub(super) struct Server(Child);

impl Server {
    /// Starts it, and waits until it `answers`.
    pub(super) fn start(
        home: &Home,
        command: &mut Command,
        mut answers: impl FnMut() -> bool,
    ) -> Self {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(home.file("log"))
            .unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut server = Self(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while !answers() {
            if let Some(status) = server.0.try_wait().unwrap() {
                panic!("the server has ended with {status}:\n{}", home.log());
            }
            assert!(
                Instant::now() < deadline,
                "the server does not answer:\n{}",
                home.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(super) fn wait(&mut self) -> ExitStatus {
        self.0.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // PostgreSQL's processes end at once, and its shared memory with them; MariaDB knows no other.
            let _ = kill_process(Pid::from_child(&self.0), Signal::QUIT);
            let deadline = Instant::now() + Duration::from_secs(10);
            while let (Ok(None), true) = (self.0.try_wait(), Instant::now() < deadline) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// A port of the loopback at which nothing listens.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Runs a command to its end.
pub(super) fn done(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Where a program is: the first of these that is there.
pub(super) fn program(paths: &[&str], package: &str) -> PathBuf {
    let found = paths.iter().map(Path::new).find(|path| path.exists());
    let Some(found) = found else {
        panic!(
            "none of {paths:?} is there: install Debian's package {package}, or run `make test`"
        );
    };
    found.to_owned()
}
