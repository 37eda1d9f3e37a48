//! A broker at the end of a slow link.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel::SqliteConnection;
use diesel_outbox::relay::Relay;
use diesel_outbox::{Message, Shutdown};

use crate::faults::Running;
use crate::log::Log;
use crate::place::{BrokerPlace, Place, Subject as _, databases, wait_until};

/// More than the buffers at both ends of a connection hold.
const BODY: usize = 24 << 20;
const LEASE: Duration = Duration::from_secs(4);

/// What a peer has received of the large frame: how many bytes of its body on each connection, and whether
/// it was complete.
type Seen = Arc<Mutex<Vec<(usize, bool)>>>;

/// A peer that takes half of a lease for its first receipt, and then reads so slowly that the rest is
/// too short for the second frame; on its next connections it works normally.
fn start() -> (String, Seen) {
    start_slow(|number| number == 0)
}

/// A peer that does so on these connections.
fn start_slow(is_slow: fn(usize) -> bool) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("stomp://guest:guest@{}/", listener.local_addr().unwrap());
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    std::thread::spawn(move || {
        for (number, socket) in listener.incoming().map_while(Result::ok).enumerate() {
            let noted = Arc::clone(&noted);
            std::thread::spawn(move || serve(&socket, is_slow(number), &noted));
        }
    });
    (url, seen)
}

fn serve(mut socket: &TcpStream, is_slow: bool, seen: &Seen) {
    let mut reader = BufReader::with_capacity(128 * 1024, socket);
    loop {
        let mut receipt = None;
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if !matches!(reader.read_line(&mut line), Ok(1..)) {
                return;
            }
            if let Some(id) = line.strip_prefix("receipt:") {
                receipt = Some(id.trim().to_owned());
            }
            if let Some(bytes) = line.strip_prefix("content-length:") {
                length = bytes.trim().parse().unwrap();
            }
            if line == "\n" {
                break;
            }
        }
        let is_large = length >= BODY;
        let mut left = length + 1;
        let mut piece = vec![0; 128 * 1024];
        while left > 0 {
            let most = left.min(piece.len());
            let Ok(count @ 1..) = reader.read(&mut piece[..most]) else {
                seen.lock().unwrap().push((length - left, false));
                return;
            };
            left -= count;
            if is_large && is_slow {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        if is_large {
            seen.lock().unwrap().push((length, true));
        } else if is_slow && receipt.is_some() {
            std::thread::sleep(LEASE / 2);
        }
        let answer = match receipt {
            Some(id) => format!("RECEIPT\nreceipt-id:{id}\n\n\0"),
            None => "CONNECTED\nversion:1.2\nserver:Slow/1\n\n\0".to_owned(),
        };
        if socket.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// After this another relay may send the row.
#[test]
fn a_row_that_is_half_written_at_the_end_of_its_lease_is_cut_off() {
    let (url, seen) = start();
    let broker = BrokerPlace {
        url,
        guard: Box::new(()),
    };
    let place = Place::new::<SqliteConnection>(databases::sqlite().unwrap(), broker);
    let mut conn = place.connect::<SqliteConnection>();
    Message::new("/queue/a", 1).publish(&mut conn).unwrap();
    Message::new("/queue/a", "x".repeat(BODY))
        .publish(&mut conn)
        .unwrap();
    let settings = place.settings().set("window", 1).set("lease", "4s");
    let settings = settings.set("receipt_timeout", "3900ms");
    let settings = settings
        .set("heartbeat_send", "0s")
        .set("heartbeat_receive", "0s");
    let relay = Relay::<SqliteConnection>::new(&settings.build().unwrap()).unwrap();
    let log = Log::default();
    let shutdown = Shutdown::new();
    let (collected, signal) = (log.clone(), shutdown.clone());
    let running = std::thread::spawn(move || {
        let _guard = collected.collect(tracing::Level::INFO);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(relay.run(&signal)).unwrap()
    });
    wait_until("both rows are sent", || {
        conn.number("select count(*) from published where status = 2") == 2
    });
    shutdown.stop();
    let sent = running.join().unwrap();
    assert_eq!((sent.sent, sent.failed, sent.parked), (2, 0, 0));
    wait_until("both connections are over", || {
        seen.lock().unwrap().len() >= 2
    });
    let mut seen = seen.lock().unwrap();
    // The slow relay may be the last to notice.
    seen.sort();
    let [(part, false), (_, true)] = seen[..] else {
        panic!("{seen:?}");
    };
    assert!(part > 0, "it was begun");
    let words = "the lease has ended before all of the row was written";
    assert_eq!(log.count(words), 1, "{}", log.text());
}

/// It is the first in the order of writing, and no lease is long enough for it.
#[test]
fn a_row_that_is_always_cut_off_stops_no_other() {
    let (url, seen) = start_slow(|_| true);
    let broker = BrokerPlace {
        url,
        guard: Box::new(()),
    };
    let place = Place::new::<SqliteConnection>(databases::sqlite().unwrap(), broker);
    let mut conn = place.connect::<SqliteConnection>();
    Message::new("/queue/a", "x".repeat(BODY))
        .key("k".to_owned())
        .publish(&mut conn)
        .unwrap();
    for n in 0..2 {
        Message::new("/queue/a", n).publish(&mut conn).unwrap();
    }
    let behind = Message::new("/queue/a", 2).key("k".to_owned());
    behind.publish(&mut conn).unwrap();
    let settings = place.settings().set("window", 1).set("lease", "4s");
    let settings = settings.set("receipt_timeout", "3900ms");
    let settings = settings
        .set("heartbeat_send", "0s")
        .set("heartbeat_receive", "0s");
    let relay = Running::start::<SqliteConnection>(settings);
    wait_until("the others are sent", || {
        conn.number("select count(*) from published where status = 2") == 2
    });
    wait_until("the large one is tried again", || {
        seen.lock().unwrap().len() >= 2
    });
    relay.stop();
    let waiting = "select min(seq) + max(seq) from published where status = 1";
    assert_eq!(
        conn.number(waiting),
        1 + 4,
        "the first and the one behind it"
    );
    assert!(seen.lock().unwrap().iter().all(|(_, is_whole)| !is_whole));
}
