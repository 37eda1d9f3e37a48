//! Another kind of broker, with its own rules.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use diesel::SqliteConnection;
use diesel_outbox::{BoxError, Message, Outcome, Payload, Registry};

#[cfg(feature = "testing")]
use crate::log::Log;
use crate::place::{BrokerPlace, Place, Subject, databases, wait_until};

/// A peer that implements STOMP 1.0 literally, and may close every second connection.
struct Stranger {
    url: String,
    /// When connections were opened.
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Stranger {
    fn start(hangs_up: bool) -> Self {
        Self::saying(hangs_up, "")
    }

    /// A peer that sends this after each SUBSCRIBE to a topic.
    fn with(words: &'static str) -> Self {
        Self::saying(false, words)
    }

    fn saying(hangs_up: bool, words: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("stomp://guest:guest@{}/", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<Instant>>>::default();
        let stranger = Self {
            url,
            asked: Arc::clone(&asked),
        };
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let mut asked = asked.lock().unwrap();
                asked.push(Instant::now());
                if !hangs_up || asked.len() % 2 == 1 {
                    std::thread::spawn(move || serve(&socket, words));
                }
            }
        });
        stranger
    }

    fn place(&self) -> Place {
        let broker = BrokerPlace {
            url: self.url.clone(),
            guard: Box::new(()),
        };
        Place::new::<SqliteConnection>(databases::sqlite().unwrap(), broker)
    }
}

/// Answers until the other side disconnects.
fn serve(mut socket: &TcpStream, words: &str) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    let mut frame = Vec::new();
    loop {
        frame.clear();
        if !matches!(reader.read_until(0, &mut frame), Ok(1..)) {
            return;
        }
        let text = String::from_utf8_lossy(&frame);
        let text = text.trim_start();
        let receipt = text.lines().find_map(|line| line.strip_prefix("receipt:"));
        let is_ours = text.starts_with("SUBSCRIBE\n") && text.contains("\ndestination:/topic/");
        let mut answer = match receipt {
            Some(id) => format!("RECEIPT\nreceipt-id:{id}\n\n\0"),
            None if text.starts_with("CONNECT\n") => {
                "CONNECTED\nversion:1.0\nserver:Stranger/1\n\n\0".to_owned()
            }
            None => continue,
        };
        if is_ours {
            answer.push_str(words);
        }
        if socket.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// The connection that declares the dead-letter queue is refused: it is retried with pauses.
#[test]
fn a_subscription_that_fails_is_tried_ever_more_slowly() {
    let stranger = Stranger::start(true);
    let place = stranger.place();
    let settings = place.settings().set("stomp_versions", "1.0").build();
    let registry = Registry::<SqliteConnection>::new();
    let consumer = place.subscribe_with(&registry, "store", &settings.unwrap());
    let asked = || stranger.asked.lock().unwrap().clone();
    wait_until("some attempts", || asked().len() >= 8);
    consumer.stop();
    let asked = asked();
    // Two connections an attempt, and three pauses of a quarter of a second at least.
    let took = asked[7] - asked[0];
    assert!(took > Duration::from_millis(700), "{took:?}");
}

#[cfg(feature = "testing")]
fn registry() -> Registry<SqliteConnection> {
    fn done(_: &mut SqliteConnection, _: &Payload) -> Result<Outcome, BoxError> {
        Ok(Outcome::Done)
    }
    Registry::new().on("it", done)
}

/// A frame without the headers of an answer is delivered again to each subscription.
#[cfg(feature = "testing")]
#[test]
fn a_frame_that_nobody_can_answer_is_not_asked_for_without_a_pause() {
    let stranger = Stranger::with("MESSAGE\nmessage-id:1\nx\n\n\0");
    let place = stranger.place();
    let settings = place.settings().set("stomp_versions", "1.0").build();
    let (consumer, log) = place.subscribe_logged(&registry(), &settings.unwrap());
    // Two connections an attempt.
    let asked = || stranger.asked.lock().unwrap().clone();
    wait_until("some attempts", || asked().len() >= 8);
    consumer.stop();
    let took = asked()[7] - asked()[0];
    // Three pauses of a quarter of a second at least.
    assert!(took > Duration::from_millis(700), "{took:?}");
    assert_eq!(log.count("ERROR"), 1, "{}", log.text());
    assert_eq!(log.count("has no id to answer it by"), 1);
}

/// A row that STOMP 1.0 cannot carry fails by its own fault and is not retried for ever.
#[test]
fn a_row_that_cannot_be_carried_is_parked() {
    let stranger = Stranger::start(false);
    let place = stranger.place();
    let settings = place.settings().set("stomp_versions", "1.0").build();
    let mut conn = place.connect::<SqliteConnection>();
    let lines = Message::new("/queue/a", 1).header("x", "two\nlines");
    lines.publish(&mut conn).unwrap();
    Message::new("/queue/a", 2).publish(&mut conn).unwrap();
    let sent = place.relay_with::<SqliteConnection>(&settings.unwrap());
    assert_eq!((sent.sent, sent.parked), (1, 1));
    let why = conn.text("select last_error from published where status = -1");
    assert!(why.unwrap().contains("header \"x\" holds a line break"));
}

/// Once by the relay and once by the subscriber, which both go on.
#[cfg(feature = "testing")]
#[test]
fn an_unknown_broker_is_warned_of() {
    let stranger = Stranger::start(false);
    let place = stranger.place();
    let settings = place.settings().set("stomp_versions", "1.0").build();
    let settings = settings.unwrap();
    let (consumer, heard) = place.subscribe_logged(&registry(), &settings);
    let caveat = "the broker is neither RabbitMQ nor ActiveMQ Classic";
    wait_until("the subscriber says so", || heard.count(caveat) == 1);
    consumer.stop();
    let mut conn = place.connect::<SqliteConnection>();
    Message::new("/queue/a", 1).publish(&mut conn).unwrap();
    let log = Log::default();
    let sent = {
        let _guard = log.collect(tracing::Level::WARN);
        place.relay_with::<SqliteConnection>(&settings)
    };
    assert_eq!(sent.sent, 1);
    assert_eq!(log.count(caveat), 1, "{}", log.text());
    assert!(log.text().contains("Stranger/1"), "{}", log.text());
}
