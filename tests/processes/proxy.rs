//! A network that swallows what is sent, and then breaks.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::prelude::*;
use diesel_outbox::schema::{Id, published};

use super::World;
use super::listener::Listener;
use super::program::{Program, wait_until};

const ROWS: usize = 2_000;
const PASSED_ON: usize = 500;

/// Passes on the first SENDs and drops everything that the client sends after them, while the broker's
/// answers still arrive; `swallowed` counts what was dropped.
struct Proxy {
    address: String,
    swallowed: Arc<AtomicUsize>,
    client: Arc<std::sync::Mutex<Option<TcpStream>>>,
}

impl Proxy {
    fn new(broker: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (user, place) = broker
            .trim_start_matches("stomp://")
            .trim_end_matches('/')
            .rsplit_once('@')
            .unwrap();
        let address = format!("stomp://{user}@{}/", listener.local_addr().unwrap());
        let place = place.to_owned();
        let swallowed = Arc::new(AtomicUsize::new(0));
        let client = Arc::new(std::sync::Mutex::new(None));
        let (count, kept) = (Arc::clone(&swallowed), Arc::clone(&client));
        std::thread::spawn(move || {
            // One connection: when it breaks, the network is gone.
            let (from, _) = listener.accept().unwrap();
            drop(listener);
            let to = TcpStream::connect(place).unwrap();
            *kept.lock().unwrap() = Some(from.try_clone().unwrap());
            let (mut answers, mut back) = (to.try_clone().unwrap(), from.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut answers, &mut back));
            swallow(from, to, &count);
        });
        Self {
            address,
            swallowed,
            client,
        }
    }

    fn cut(&self) {
        if let Some(client) = self.client.lock().unwrap().take() {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

fn swallow(mut from: TcpStream, mut to: TcpStream, swallowed: &AtomicUsize) {
    let mut buffer = [0; 4096];
    let mut frames = 0;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        // The bodies of these rows contain no NUL, so each NUL ends a frame; CONNECT is the first frame.
        let mut kept = 0;
        for (position, byte) in buffer[..count].iter().enumerate() {
            if frames > PASSED_ON {
                swallowed.fetch_add(count - position, Ordering::SeqCst);
                break;
            }
            kept = position + 1;
            frames += usize::from(*byte == 0);
        }
        if to.write_all(&buffer[..kept]).is_err() {
            return;
        }
    }
}

#[test]
fn no_row_is_settled_that_the_broker_did_not_get() {
    let Some(world) = World::new() else { return };
    let listener = Listener::new(&world);
    world.write(ROWS);
    let proxy = Proxy::new(&world.broker);
    let mut relay = Program::start(
        &world,
        env!("CARGO_BIN_EXE_publish"),
        &["--once", "--stomp-url", &proxy.address],
    );
    wait_until("frames are swallowed", || {
        proxy.swallowed.load(Ordering::SeqCst) > 0
    });
    listener.wait_for(PASSED_ON);
    proxy.cut();
    assert_eq!(relay.ended().code(), Some(1), "{:#?}", relay.lines());
    let settled: Vec<Id> = published::table
        .filter(published::status.eq(2))
        .select(published::id)
        .load(&mut world.connect())
        .unwrap();
    for id in &settled {
        assert!(listener.has(&id.0.to_string()), "{} was not received", id.0);
    }
    assert!(settled.len() <= PASSED_ON);
    let failed = world.counts().parked;
    assert_eq!(failed, 0, "the network is nobody's fault");
    // And nothing is lost.
    let mut relay = Program::start(&world, env!("CARGO_BIN_EXE_publish"), &["--once"]);
    assert!(relay.ended().success());
    listener.wait_for(ROWS);
    assert_eq!(world.counts().sent, ROWS as i64);
}
