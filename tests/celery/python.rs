//! The programs of Celery: a worker and a client.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::program::{Program, wait_until};
use crate::world::World;

/// Python with the address of the broker. Its AMQP port is that of the tests.
fn command(world: &World) -> Command {
    let port = std::env::var("OUTBOX_TEST_AMQP_PORT").unwrap_or_else(|_| "5672".to_owned());
    let mut command = Command::new(&world.python);
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/celery/project"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("BROKER", format!("amqp://guest:guest@127.0.0.1:{port}//"))
        .env("QUEUE", &world.queue)
        .env("CALLS", calls_file(world));
    command
}

fn calls_file(world: &World) -> PathBuf {
    world.folder.path().join("calls")
}

/// A worker with one thread. It is killed when this is dropped.
pub(crate) struct Worker {
    calls: PathBuf,
    program: Program,
}

impl Worker {
    /// Starts a worker of the world's queue. `queue_type` is empty for the queue that Celery declares by
    /// default.
    pub(crate) fn start(world: &World, queue_type: &str) -> Self {
        let mut worker = command(world);
        worker
            .args(["-m", "celery", "--app", "tasks", "worker"])
            .args(["--pool", "solo", "--loglevel", "INFO"])
            .args([
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
            ])
            .args(["--queues", &world.queue, "--hostname", &world.queue])
            .env("QUEUE_TYPE", queue_type)
            .stdin(Stdio::null());
        let mut program = Program::spawn(&mut worker);
        program.wait_for_line(" ready.");
        let calls = calls_file(world);
        Self { calls, program }
    }

    /// The calls, in their order, once there are this number.
    pub(crate) fn calls(&self, expected: usize) -> Vec<Value> {
        let mut calls = Vec::new();
        wait_until("the worker runs the tasks", || {
            calls = self.calls_so_far();
            calls.len() >= expected
        });
        assert_eq!(calls.len(), expected, "{calls:#?}");
        calls
    }

    pub(crate) fn calls_so_far(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.calls).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits for a line of the worker's log.
    pub(crate) fn wait_for_line(&mut self, text: &str) {
        self.program.wait_for_line(text);
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.program.has_ended()
    }
}

/// Calls tasks from Python. Returns their ids.
#[track_caller]
pub(crate) fn call(world: &World, calls: &[Value]) -> Vec<String> {
    let mut client = command(world)
        .arg("client.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = client.stdin.take().unwrap();
    for call in calls {
        writeln!(input, "{call}").unwrap();
    }
    drop(input);
    let output = client.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let ids = String::from_utf8(output.stdout).unwrap();
    let ids: Vec<String> = ids.lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), calls.len(), "{errors}");
    ids
}
