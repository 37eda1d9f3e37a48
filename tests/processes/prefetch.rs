//! Large messages, more than there is memory for.

use diesel_outbox::stomp::{Client, Options, SendFrame};

use super::World;
use super::program::{Program, wait_until};
use super::signals::executable;

const MESSAGES: usize = 400;
const BODY: usize = 1_000_000;

/// The peak memory of a process, in KiB.
#[cfg(target_os = "linux")]
fn peak(program: &Program) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().trim_end_matches("kB").trim();
    number.parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn prefetched_messages_do_not_fill_the_memory() {
    let Some(world) = World::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = "cat >/dev/null\nsleep 0.02";
    let callback = executable(&folder.path().join("handle"), script);
    let (topic, count) = (world.topic(), MESSAGES.to_string());
    let arguments = [
        &callback,
        &topic,
        "--workers",
        "2",
        "--prefetch-count",
        &count,
        "--prefetch-bytes",
        "8000000",
    ];
    let mut subscriber = Program::start(&world, env!("CARGO_BIN_EXE_subscribe"), &arguments);
    subscriber.wait_for_line("subscribed");
    let before = peak(&subscriber);
    let options = Options::from_url(&world.broker).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let body = serde_json::to_vec(&"x".repeat(BODY)).unwrap();
    runtime.block_on(async {
        let client = Client::connect(&options).await.unwrap();
        for n in 0..MESSAGES {
            let frame = SendFrame::new(topic.clone(), body.clone());
            client
                .send(frame.header("dop-msg-id", n.to_string()))
                .await
                .unwrap();
        }
        client.disconnect().await.unwrap();
    });
    // Without a limit all would have been there long before.
    wait_until("some are handled", || world.counts().received >= 50);
    let more = (peak(&subscriber) - before) / 1024;
    eprintln!("{more} MiB more than before");
    // 400 MB are prefetched by count; two are handled at a time, each as bytes, text and document.
    assert!(more < 80, "{more} MiB");
    subscriber.signal("TERM");
    assert!(subscriber.ended().success());
}
