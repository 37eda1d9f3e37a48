//! A broker that ignores the prefetch count.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use diesel::SqliteConnection;
use diesel_outbox::{BoxError, Payload, Registry};

use crate::place::{BrokerPlace, Place, databases, wait_until};

const MESSAGES: usize = 100_000;
/// The number of different ones; an effect takes longer than the check that finds it.
const DIFFERENT: usize = 1_000;
const PREFETCH: usize = 4;

/// A peer that behaves like a broker and sends all its messages at once.
struct Flood {
    url: String,
    acknowledged: Arc<AtomicUsize>,
    written: Arc<AtomicUsize>,
}

impl Flood {
    /// One of this many messages, with this text after each number.
    fn start(messages: usize, body: &str) -> Self {
        let body: Arc<str> = body.into();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("stomp://guest:guest@{}/", listener.local_addr().unwrap());
        let (acknowledged, written) = (Arc::default(), Arc::default());
        let flood = Self {
            url,
            acknowledged: Arc::clone(&acknowledged),
            written: Arc::clone(&written),
        };
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (acknowledged, written) = (Arc::clone(&acknowledged), Arc::clone(&written));
                let body = Arc::clone(&body);
                std::thread::spawn(move || {
                    serve(&socket, &acknowledged, &written, (messages, &body));
                });
            }
        });
        flood
    }
}

/// Answers until the other side disconnects.
fn serve(
    socket: &TcpStream,
    acknowledged: &AtomicUsize,
    written: &Arc<AtomicUsize>,
    (messages, body): (usize, &Arc<str>),
) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let writer = Arc::new(Mutex::new(socket.try_clone().unwrap()));
    let say = |text: &str| {
        let _ = writer.lock().unwrap().write_all(text.as_bytes());
    };
    let mut frame = Vec::new();
    loop {
        frame.clear();
        if !matches!(reader.read_until(0, &mut frame), Ok(1..)) {
            return;
        }
        let text = String::from_utf8_lossy(&frame).trim_start().to_owned();
        let header = |name: &str| {
            let named = |line: &str| Some(line.strip_prefix(name)?.strip_prefix(':')?.to_owned());
            text.lines().find_map(named)
        };
        let command = text.lines().next().unwrap_or_default();
        if command == "CONNECT" {
            say("CONNECTED\nversion:1.2\nserver:RabbitMQ/3.10.8\n\n\0");
        }
        if command == "ACK" {
            acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        if let Some(id) = header("receipt") {
            say(&format!("RECEIPT\nreceipt-id:{id}\n\n\0"));
        }
        let is_ours =
            header("destination").is_some_and(|destination| destination == "/topic/flood");
        if let Some(id) = header("id").filter(|_| command == "SUBSCRIBE" && is_ours) {
            let (writer, written) = (Arc::clone(&writer), Arc::clone(written));
            let body = Arc::clone(body);
            std::thread::spawn(move || pour(&writer, &id, &written, (messages, &body)));
        }
    }
}

/// The first messages share a key, the others have none. Most are redelivered many times.
fn pour(
    writer: &Mutex<TcpStream>,
    subscription: &str,
    written: &AtomicUsize,
    (messages, body): (usize, &str),
) {
    for n in 0..messages {
        let key = if n < PREFETCH {
            "first".to_owned()
        } else {
            n.to_string()
        };
        let id = n % DIFFERENT;
        let message = format!(
            "MESSAGE\nsubscription:{subscription}\ndestination:/topic/flood\nmessage-id:{n}\n\
             ack:{n}\ndop-msg-id:{id}\nkey:{key}\n\n{n}{body}\0"
        );
        let mut writer = writer.lock().unwrap();
        if writer.write_all(message.as_bytes()).is_err() {
            return;
        }
        written.fetch_add(1, Ordering::SeqCst);
    }
}

/// While the requested messages are held, no other one is read, even if a worker is free.
#[test]
fn no_more_is_held_than_was_asked_for() {
    let flood = Flood::start(MESSAGES, "");
    let broker = BrokerPlace {
        url: flood.url.clone(),
        guard: Box::new(()),
    };
    let mut place = Place::new::<SqliteConnection>(databases::sqlite().unwrap(), broker);
    place.name = "flood".to_owned();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let calls = Arc::new(AtomicUsize::new(0));
    let (kept, counted) = (Arc::clone(&gate), Arc::clone(&calls));
    let registry = Registry::<SqliteConnection>::new().on_managed(
        "it",
        move |conn: &mut SqliteConnection, payload: &Payload| -> Result<_, BoxError> {
            counted.fetch_add(1, Ordering::SeqCst);
            let (open, changed) = &*kept;
            let closed = changed.wait_while(open.lock().unwrap(), |open| !*open);
            drop(closed.unwrap());
            Ok(payload.save(conn)?)
        },
    );
    let settings = place.settings().set("workers", 2);
    let settings = settings
        .set("prefetch_count", PREFETCH)
        .set("heartbeat_send", "0s");
    let settings = settings.set("heartbeat_receive", "0s").build().unwrap();
    let consumer = place.subscribe_with(&registry, "it", &settings);
    wait_until("the first call", || calls.load(Ordering::SeqCst) == 1);
    wait_until("the flood comes", || {
        flood.written.load(Ordering::SeqCst) > 10 * PREFETCH
    });
    // Long enough for a free worker.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(calls.load(Ordering::SeqCst), 1, "another one was taken");
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    wait_until("all are handled", || {
        flood.acknowledged.load(Ordering::SeqCst) == MESSAGES
    });
    let handled = consumer.stop();
    assert_eq!(handled.done + handled.duplicates, MESSAGES as u64);
    assert_eq!(
        place.counts::<SqliteConnection>().received,
        DIFFERENT as i64
    );
}

/// Whatever the prefetch count allows.
#[test]
fn no_more_bytes_are_held_than_was_asked_for() {
    const COUNT: usize = 400;
    const BODY: usize = 1 << 20;
    const BYTES: usize = 4 << 20;
    /// The capacity of a connection's buffers at both ends; Linux gives each some MiB.
    const IN_SOCKETS: usize = 24 << 20;
    let flood = Flood::start(COUNT, &" ".repeat(BODY));
    let broker = BrokerPlace {
        url: flood.url.clone(),
        guard: Box::new(()),
    };
    let mut place = Place::new::<SqliteConnection>(databases::sqlite().unwrap(), broker);
    place.name = "flood".to_owned();
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let kept = Arc::clone(&gate);
    let registry = Registry::<SqliteConnection>::new().on_managed(
        "it",
        move |conn: &mut SqliteConnection, payload: &Payload| -> Result<_, BoxError> {
            let (open, changed) = &*kept;
            let closed = changed.wait_while(open.lock().unwrap(), |open| !*open);
            drop(closed.unwrap());
            // Some go to the dead letters: the messages that they wait for are behind messages that are not read.
            if payload.header("message-id") == Some("7") {
                return Ok(payload.nack());
            }
            Ok(payload.save(conn)?)
        },
    );
    let settings = place.settings().set("prefetch_count", COUNT);
    let settings = settings
        .set("prefetch_bytes", BYTES)
        .set("heartbeat_send", "0s");
    let settings = settings.set("heartbeat_receive", "0s").build().unwrap();
    let consumer = place.subscribe_with(&registry, "it", &settings);
    wait_until("the flood comes", || {
        flood.written.load(Ordering::SeqCst) * BODY >= BYTES
    });
    // Until nothing more is read.
    let mut last = usize::MAX;
    wait_until("it stands still", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = flood.written.load(Ordering::SeqCst);
        std::mem::replace(&mut last, now) == now
    });
    assert!(last * BODY < BYTES + IN_SOCKETS, "{last} messages");
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    // Many times as many as are held.
    wait_until("it continues", || {
        flood.acknowledged.load(Ordering::SeqCst) >= 60
    });
    let handled = consumer.stop();
    let all = handled.done + handled.discarded;
    assert!(all >= 60 && handled.discarded == 1, "{handled:?}");
}
