//! Callbacks whose work is not in the database.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use diesel_outbox::stomp::{Broker, SendFrame};
use diesel_outbox::subscriber::Subscriber;
use diesel_outbox::{Message, Outcome, Registry, Shutdown};

use crate::place::{Place, Subject, next, wait_until};

fn program(path: &Path, script: &str) -> String {
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    format!("exec:{}", path.display())
}

pub(crate) fn a_program_gets_body_and_headers<C: Subject>(place: &Place) {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let script = format!(
        "cat > '{0}.part'; printf ' %s %s' \"$OUTBOX_HEADER_DOP_MSG_ID\" \"$OUTBOX_HEADER_X\" >> '{0}.part'; mv '{0}.part' '{0}'",
        seen.display()
    );
    let callback = program(&folder.path().join("it"), &script);
    place.declare::<C>();
    let consumer = place.subscribe_with::<C>(&Registry::new(), &callback, &place.config());
    let message = Message::new(place.topic(), "body").header("x", "$(touch bad); 'q'");
    let id = place.send(message);
    wait_until("the program has run", || seen.exists());
    wait_until("it is remembered", || place.counts::<C>().received == 1);
    assert_eq!(consumer.stop().done, 1);
    let seen = std::fs::read_to_string(seen).unwrap();
    assert_eq!(seen, format!("\"body\" {id} $(touch bad); 'q'"));
}

/// A header cannot replace one that the broker sets or checks.
pub(crate) fn a_header_that_no_variable_can_carry_is_left_out<C: Subject>(place: &Place) {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let script = format!(
        "echo \"$OUTBOX_HEADER_X|${{OUTBOX_HEADER_LONG-none}}|${{OUTBOX_HEADER_USER_ID-none}}|$OUTBOX_HEADER_DOP_MSG_ID|$OUTBOX_HEADERS_LEFT_OUT\" > '{0}.part'; mv '{0}.part' '{0}'",
        seen.display()
    );
    let callback = program(&folder.path().join("it"), &script);
    place.declare::<C>();
    let consumer = place.subscribe_with::<C>(&Registry::new(), &callback, &place.config());
    // Each variable has at most 128 KiB on Linux. ActiveMQ refuses headers of over 10 KiB.
    let is_long = place.broker() != Broker::ActiveMq;
    let long = "v".repeat(if is_long { 200_000 } else { 1 });
    let frame = SendFrame::new(place.topic(), "1")
        .header("x", "well")
        .header("long", long)
        .header("user_id", "forged")
        .header("dop_msg_id", "forged")
        .header("dop-msg-id", "it");
    place.send_frame(frame);
    wait_until("the program has run", || seen.exists());
    wait_until("it is remembered", || place.counts::<C>().received == 1);
    assert_eq!(consumer.stop().done, 1);
    let left_out = "OUTBOX_HEADER_DOP_MSG_ID OUTBOX_HEADER_LONG OUTBOX_HEADER_USER_ID";
    let expected = match is_long {
        true => format!("well|none|none|it|{left_out}\n"),
        false => format!(
            "well|v|none|it|{}\n",
            left_out.replace("OUTBOX_HEADER_LONG ", "")
        ),
    };
    assert_eq!(std::fs::read_to_string(seen).unwrap(), expected);
}

pub(crate) fn a_program_may_discard_or_fail<C: Subject>(place: &Place) {
    let folder = tempfile::tempdir().unwrap();
    let callback = program(
        &folder.path().join("it"),
        "read body; case \"$body\" in 1) exit 65;; 2) exit 3;; 3) sleep 600;; esac",
    );
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let config = place.settings().set("exec_timeout", "300ms").build();
    let consumer = place.subscribe_with::<C>(&Registry::new(), &callback, &config.unwrap());
    for body in 1..=4 {
        place.send(Message::new(place.topic(), body));
    }
    for body in [b"1", b"2", b"3"] {
        assert_eq!(&next(&dead_letters).body[..], body);
    }
    wait_until("the last is done", || place.counts::<C>().received == 1);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.discarded, handled.dead), (1, 1, 2));
}

/// SIGTERM comes first, so that the program can clean up.
pub(crate) fn a_program_is_asked_before_it_is_killed<C: Subject>(place: &Place) {
    let folder = tempfile::tempdir().unwrap();
    let tidied = folder.path().join("tidied");
    let script = format!(
        "trap \"touch '{}'; exit 3\" TERM; sleep 600 & wait",
        tidied.display()
    );
    let callback = program(&folder.path().join("it"), &script);
    place.declare::<C>();
    let dead_letters = place.dead_letters();
    let settings = place.settings().set("exec_timeout", "300ms");
    let config = settings.set("callback_attempts", 1).build().unwrap();
    let consumer = place.subscribe_with::<C>(&Registry::new(), &callback, &config);
    place.send(Message::new(place.topic(), 1));
    next(&dead_letters);
    assert!(tidied.exists());
    assert_eq!(consumer.stop().dead, 1);
}

/// It runs in its caller's runtime, and the caller continues.
pub(crate) fn a_program_ends_with_a_subscriber_that_is_dropped<C: Subject>(place: &Place) {
    let folder = tempfile::tempdir().unwrap();
    let (begun, tidied) = (folder.path().join("begun"), folder.path().join("tidied"));
    let script = format!(
        "trap \"touch '{}'; exit 0\" TERM; touch '{}'; sleep 600 & wait",
        tidied.display(),
        begun.display()
    );
    let callback = program(&folder.path().join("it"), &script);
    place.declare::<C>();
    place.send(Message::new(place.topic(), 1));
    let subscriber = Subscriber::<C>::new(
        &place.config(),
        &Registry::new(),
        &callback,
        &place.topic(),
        None,
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let subscribed = subscriber.unwrap();
    let running = runtime.spawn(async move { subscribed.run(&Shutdown::new()).await });
    wait_until("the program runs", || begun.exists());
    running.abort();
    wait_until("the program was ended", || tidied.exists());
    assert_eq!(place.counts::<C>().received, 0, "it was not done");
}

pub(crate) fn an_async_callback_holds_no_connection<C: Subject>(place: &Place) {
    let (sender, called) = channel();
    let sender = Arc::new(Mutex::new(sender));
    let registry = Registry::<C>::new().on_external("it", move |payload| {
        let sender = Arc::clone(&sender);
        async move {
            tokio::task::yield_now().await;
            let correlation = diesel_outbox::correlation::current();
            sender
                .lock()
                .unwrap()
                .send((payload.msg_id().to_owned(), correlation))?;
            Ok::<_, diesel_outbox::BoxError>(Outcome::Done)
        }
    });
    place.declare::<C>();
    // One connection in all: if it were kept, the look-up of the second message would wait for ever.
    let config = place.settings().set("database_pool_size", 1).build();
    let consumer = place.subscribe_with(&registry, "it", &config.unwrap());
    place.send_raw("a", b"1");
    place.send_raw("a", b"1");
    place.send_raw("b", b"1");
    let (first, correlation) = next(&called);
    assert_eq!(first, "a");
    assert!(correlation.is_some());
    assert_eq!(next(&called).0, "b");
    wait_until("both are remembered", || place.counts::<C>().received == 2);
    let handled = consumer.stop();
    assert_eq!((handled.done, handled.duplicates), (2, 1));
}

/// It leaves a process behind that has its input, its output and its standard error open, and reads
/// none of the input.
pub(crate) fn a_program_that_has_ended_is_not_waited_for<C: Subject>(place: &Place) {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("left");
    let script = format!(
        "exec 3<&0; sleep 600 <&3 & echo $! >> '{}'; echo out; echo err >&2; exit 0",
        left.display()
    );
    let callback = program(&folder.path().join("it"), &script);
    place.declare::<C>();
    let config = place.settings().set("exec_timeout", "1h").build().unwrap();
    let consumer = place.subscribe_with::<C>(&Registry::new(), &callback, &config);
    for _ in 0..2 {
        // More than a pipe holds.
        place.send(Message::new(place.topic(), "x".repeat(1 << 20)));
    }
    wait_until("they are remembered", || place.counts::<C>().received == 2);
    assert_eq!(consumer.stop().done, 2);
    for pid in std::fs::read_to_string(left).unwrap().lines() {
        let killed = std::process::Command::new("kill").arg(pid).status();
        assert!(killed.unwrap().success(), "it continues");
    }
}
