//! Programs that run for messages end with `subscribe` and leave nothing behind.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use diesel_outbox::stomp::{Client, Options, SendFrame};

use super::World;
use super::program::{Program, wait_until};
use super::signals::executable;

/// What `/proc` shows of a process.
struct Process {
    state: String,
    parent: u32,
    group: u32,
}

fn processes() -> Vec<(u32, Process)> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // proc(5): the name may contain anything and ends with the last parenthesis.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let process = Process {
            state: fields.next()?.to_owned(),
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        };
        Some((id, process))
    });
    all.collect()
}

/// The number of processes in a process group.
fn alive(group: u32) -> usize {
    let is_alive = |process: &Process| process.group == group && process.state != "Z";
    processes().iter().filter(|(_, it)| is_alive(it)).count()
}

/// The number of its first process, when the program has written it.
fn group(file: &Path) -> u32 {
    let mut group = None;
    wait_until("the program runs", || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        group = text.strip_suffix('\n').and_then(|text| text.parse().ok());
        group.is_some()
    });
    group.unwrap()
}

/// Starts `subscribe` with a program that writes its number and starts another one beside it.
fn running(world: &World, folder: &Path, script: &str, flags: &[&str]) -> (Program, u32) {
    let begun = folder.join("begun");
    let script = format!(
        "{script}\nsleep 600 &\necho $$ > '{}'\nwait",
        begun.display()
    );
    let callback = executable(&folder.join("it"), &script);
    let topic = world.topic();
    let arguments = [&[callback.as_str(), &topic], flags].concat();
    let mut subscriber = Program::start(world, env!("CARGO_BIN_EXE_subscribe"), &arguments);
    subscriber.wait_for_line("subscribed");
    world.write(1);
    publish(world);
    let group = group(&begun);
    assert_eq!(alive(group), 2);
    (subscriber, group)
}

fn publish(world: &World) {
    let mut relay = Program::start(world, env!("CARGO_BIN_EXE_publish"), &["--once"]);
    assert!(relay.ended().success());
}

/// The message is available to the next subscriber and is not a dead letter.
fn is_delivered_again(world: &World) {
    let topic = world.topic();
    let mut next = Program::start(world, env!("CARGO_BIN_EXE_subscribe"), &["store", &topic]);
    wait_until("it is delivered again", || world.counts().received == 1);
    next.signal("TERM");
    assert_eq!(next.ended().code(), Some(0));
}

#[test]
fn a_program_ends_with_subscribe_when_it_takes_too_long() {
    let Some(world) = World::new() else { return };
    for script in ["", "trap '' TERM", "trap 'exit 1' TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let flags = ["--shutdown-timeout", "100ms", "--callback-attempts", "1"];
        let (mut subscriber, group) = running(&world, folder.path(), script, &flags);
        subscriber.signal("TERM");
        assert_eq!(subscriber.ended().code(), Some(3));
        assert_eq!(alive(group), 0, "it has ended before subscribe: {script:?}");
        is_delivered_again(&world);
        world.forget();
    }
}

#[test]
fn a_program_ends_with_subscribe_at_the_second_signal() {
    let Some(world) = World::new() else { return };
    for script in ["", "trap '' TERM", "trap 'exit 1' TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let flags = ["--callback-attempts", "1"];
        let (mut subscriber, group) = running(&world, folder.path(), script, &flags);
        subscriber.signal("TERM");
        subscriber.wait_for_line("stopping");
        assert_eq!(alive(group), 2, "it may finish");
        subscriber.signal("TERM");
        assert_eq!(subscriber.ended().code(), Some(128 + 15));
        wait_until("it has ended with subscribe", || alive(group) == 0);
        is_delivered_again(&world);
        world.forget();
    }
}

/// The system limits the sum of arguments and environment to a quarter of the stack's size.
#[test]
fn headers_that_are_too_long_together_are_left_out() {
    let Some(world) = World::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let script = format!(
        "env | cut -c 1-300 | grep ^OUTBOX_HEADER > '{0}.part'; mv '{0}.part' '{0}'",
        seen.display()
    );
    let callback = executable(&folder.path().join("it"), &script);
    let (subscribe, topic) = (env!("CARGO_BIN_EXE_subscribe"), world.topic());
    let limited = "ulimit -S -s 2048; exec \"$0\" \"$@\"";
    let arguments = ["-c", limited, subscribe, &callback, &topic];
    let mut subscriber = Program::start(&world, "sh", &arguments);
    subscriber.wait_for_line("subscribed");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = Options::from_url(&world.broker).unwrap();
    runtime.block_on(async {
        let client = Client::connect(&options).await.unwrap();
        let mut frame = SendFrame::new(topic.clone(), "1").header("dop-msg-id", "it");
        for n in 1..=6 {
            // Each of them alone is short enough.
            frame = frame.header(format!("long-{n}"), "v".repeat(100_000 + n));
        }
        client.send(frame).await.unwrap();
        client.disconnect().await.unwrap();
    });
    wait_until("it is done", || world.counts().received == 1);
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(seen.contains("OUTBOX_HEADER_DOP_MSG_ID=it\n"), "{seen}");
    let (short, long) = ("OUTBOX_HEADER_LONG_1", "OUTBOX_HEADER_LONG_6");
    assert!(seen.contains(&format!("{short}=v")), "{seen}");
    let list = seen
        .lines()
        .find_map(|line| line.strip_prefix("OUTBOX_HEADERS_LEFT_OUT="));
    assert!(list.unwrap().ends_with(long), "{seen}");
    assert!(!list.unwrap().contains(short), "{seen}");
    subscriber.signal("TERM");
    assert!(subscriber.ended().success());
}

/// Processes that programs leave behind keep their output open, and so files of ours. Too many open files
/// are not the fault of a message.
#[test]
fn too_many_open_files_make_no_dead_letter() {
    const MESSAGES: usize = 40;
    let Some(world) = World::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let callback = executable(&folder.path().join("it"), "sleep 4 & exit 0");
    let (subscribe, topic) = (env!("CARGO_BIN_EXE_subscribe"), world.topic());
    let limited = "ulimit -n 70; exec \"$0\" \"$@\"";
    let more = ["--callback-attempts", "1", "--log-level", "debug"];
    let arguments = [&["-c", limited, subscribe, &callback, &topic], &more[..]].concat();
    let mut subscriber = Program::start(&world, "sh", &arguments);
    subscriber.wait_for_line("subscribed");
    world.write(MESSAGES);
    publish(&world);
    subscriber.wait_for_line("Too many open files");
    wait_until("all are done", || {
        world.counts().received == i64::try_from(MESSAGES).unwrap()
    });
    subscriber.signal("TERM");
    assert!(subscriber.ended().success());
    let lines = subscriber.lines().join("\n");
    assert!(!lines.contains("no further attempt"), "{lines}");
}

/// In a separate process namespace `subscribe` is process 1, as in a container.
#[test]
fn as_process_1_it_leaves_no_zombies_and_nothing_that_runs() {
    const MESSAGES: usize = 40;
    let Some(world) = World::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    // What it starts continues after its end, and so becomes a child of process 1: in its group, and
    // in another one.
    let script = "(sleep 0.01; exec true) & setsid sh -c 'sleep 0.01 & exec true'";
    let callback = executable(&folder.path().join("it"), script);
    let mut command = Command::new("unshare");
    let is_root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        command.arg("--map-root-user");
    }
    command
        .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(env!("CARGO_BIN_EXE_subscribe"))
        .args([&callback, &world.topic()])
        .env("DATABASE_URL", &world.database.url)
        .env("STOMP_URL", &world.broker)
        .env("OUTBOX_QUEUE_HEADERS", "x-expires:600000");
    let mut subscriber = Program::spawn(&mut command);
    // Fails here if the system does not permit a namespace.
    subscriber.wait_for_line("subscribed");
    let child_of = |parent: u32| {
        let all = processes();
        let child = all.iter().find(|(_, process)| process.parent == parent);
        child.unwrap().0
    };
    let first = child_of(subscriber.id());
    world.write(MESSAGES);
    publish(&world);
    wait_until("all are done", || {
        world.counts().received == i64::try_from(MESSAGES).unwrap()
    });
    wait_until("no zombie is left", || {
        let all = processes();
        let mut left = all.iter().filter(|(_, process)| process.parent == first);
        left.all(|(_, process)| process.state != "Z")
    });
    let ended = Command::new("kill")
        .args(["-TERM", &first.to_string()])
        .status();
    assert!(ended.unwrap().success());
    assert_eq!(subscriber.ended().code(), Some(0), "the child's own code");
}
