//! Graceful and immediate stops.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::World;
use super::listener::Listener;
use super::program::{Program, wait_until};

#[test]
fn a_stopped_relay_gives_back_what_it_did_not_send() {
    let Some(world) = World::new() else { return };
    let listener = Listener::new(&world);
    world.write(20_000);
    let mut relay = Program::start(&world, env!("CARGO_BIN_EXE_publish"), &[]);
    listener.wait_for(300);
    relay.signal("TERM");
    assert_eq!(relay.ended().code(), Some(0), "{:#?}", relay.lines());
    let counts = world.counts();
    assert!(counts.waiting > 0, "it was to stop in the middle");
    assert_eq!(counts.not_due, 0, "no lease is left");
    listener.wait_for(usize::try_from(counts.sent).unwrap());
    assert_eq!(listener.duplicates(), 0);
}

#[test]
fn each_signal_stops_and_a_second_one_ends_at_once() {
    let Some(world) = World::new() else { return };
    for signal in ["INT", "QUIT"] {
        let mut relay = Program::start(&world, env!("CARGO_BIN_EXE_publish"), &[]);
        relay.wait_for_line("starting the relay");
        relay.signal(signal);
        assert_eq!(relay.ended().code(), Some(0), "{:#?}", relay.lines());
    }
    let folder = tempfile::tempdir().unwrap();
    let callback = executable(&folder.path().join("slow"), "exec sleep 600");
    let topic = world.topic();
    let mut subscriber = Program::start(
        &world,
        env!("CARGO_BIN_EXE_subscribe"),
        &[&callback, &topic],
    );
    subscriber.wait_for_line("subscribed");
    world.write(1);
    let mut relay = Program::start(&world, env!("CARGO_BIN_EXE_publish"), &["--once"]);
    assert!(relay.ended().success());
    subscriber.signal("TERM");
    subscriber.wait_for_line("stopping");
    subscriber.signal("TERM");
    assert_eq!(subscriber.ended().code(), Some(128 + 15));
}

#[test]
fn callbacks_that_do_not_finish_in_time_have_a_code_of_their_own() {
    let Some(world) = World::new() else { return };
    let topic = world.topic();
    let mut subscriber = Program::start(
        &world,
        env!("CARGO_BIN_EXE_subscribe"),
        &["exec:sleep-for-long", &topic],
    );
    assert_eq!(
        subscriber.ended().code(),
        Some(2),
        "there is no such program"
    );
    let folder = tempfile::tempdir().unwrap();
    let begun = folder.path().join("begun");
    let script = format!("touch '{}'; exec sleep 600", begun.display());
    let callback = executable(&folder.path().join("slow"), &script);
    let mut subscriber = Program::start(
        &world,
        env!("CARGO_BIN_EXE_subscribe"),
        &[&callback, &topic, "--shutdown-timeout", "200ms"],
    );
    subscriber.wait_for_line("subscribed");
    world.write(1);
    let mut relay = Program::start(&world, env!("CARGO_BIN_EXE_publish"), &["--once"]);
    assert!(relay.ended().success());
    wait_until("it is called", || begun.exists());
    subscriber.signal("TERM");
    assert_eq!(subscriber.ended().code(), Some(3));
}

/// A time limit passes while the program runs.
#[test]
fn a_standstill_costs_no_attempt() {
    let Some(world) = World::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (begun, ended) = (folder.path().join("begun"), folder.path().join("ended"));
    let script = format!(
        "touch '{}'; sleep 0.5; touch '{}'",
        begun.display(),
        ended.display()
    );
    let callback = executable(&folder.path().join("short"), &script);
    let mut subscriber = Program::start(
        &world,
        env!("CARGO_BIN_EXE_subscribe"),
        &[&callback, &world.topic(), "--exec-timeout=2s"],
    );
    subscriber.wait_for_line("subscribed");
    world.write(1);
    let mut relay = Program::start(&world, env!("CARGO_BIN_EXE_publish"), &["--once"]);
    assert!(relay.ended().success());
    wait_until("it is called", || begun.exists());
    subscriber.signal("STOP");
    wait_until("it has ended", || ended.exists());
    std::thread::sleep(Duration::from_secs(3));
    subscriber.signal("CONT");
    wait_until("it is remembered", || world.counts().received == 1);
    subscriber.signal("TERM");
    assert_eq!(subscriber.ended().code(), Some(0));
    let lines = subscriber.lines().join("\n");
    assert!(!lines.contains("was ended after"), "{lines}");
}

/// A shell program; returns the callback that runs it.
pub(crate) fn executable(path: &Path, script: &str) -> String {
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    format!("exec:{}", path.display())
}
