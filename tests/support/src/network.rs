//! A proxy between a program and a server that simulates network faults.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What the proxy does with the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Forwards them.
    Well,
    /// Keeps them and forwards them later.
    Stalled,
    /// Drops the server's bytes.
    Swallowing,
    /// Forwards this many bytes, then closes the connection.
    BreaksAfter(usize),
    /// Forwards up to the bytes that contain these, then stalls.
    StallsAfter(&'static [u8]),
    /// Delays each answer by this time.
    Slow(Duration),
    /// Closes all connections, new ones too.
    Away,
}

struct State {
    mode: Mode,
    /// Both ends of each connection, with its number.
    passing: Vec<(usize, TcpStream)>,
    /// The number of connections so far.
    made: usize,
    /// The first connections up to this number forward nothing and stay open.
    silent: usize,
}

/// A proxy to one server.
pub struct Network {
    address: SocketAddr,
    target: String,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Network {
    /// Creates a proxy to the host and port of this URL.
    pub fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let target = place(url).to_owned();
        let state = Arc::new((
            Mutex::new(State {
                mode: Mode::Well,
                passing: Vec::new(),
                made: 0,
                silent: 0,
            }),
            Condvar::new(),
        ));
        let (shared, server) = (Arc::clone(&state), target.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut state = shared.0.lock().unwrap();
                if state.mode == Mode::Away {
                    continue;
                }
                // Dropped if the server is not available: the client sees its connection close.
                let Ok(server) = TcpStream::connect(&server) else {
                    continue;
                };
                let of = |stream: &TcpStream| stream.try_clone().unwrap();
                let number = state.made;
                state.made += 1;
                let ends = [of(&client), of(&server)];
                state.passing.extend(ends.map(|end| (number, end)));
                for (from, to, is_answer) in
                    [(of(&client), of(&server), false), (server, client, true)]
                {
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || pass(number, from, to, is_answer, &shared));
                }
            }
        });
        Self {
            address,
            target,
            state,
        }
    }

    /// The URL with the proxy's host and port.
    pub fn address_for(&self, url: &str) -> String {
        url.replace(&self.target, &self.address.to_string())
    }

    pub fn set(&self, mode: Mode) {
        self.state.0.lock().unwrap().mode = mode;
        self.state.1.notify_all();
        if mode == Mode::Away {
            self.cut();
        }
    }

    /// Waits until the proxy is in this mode, which another mode may change to.
    pub fn wait_for(&self, mode: Mode) {
        let state = self.state.0.lock().unwrap();
        let patience = Duration::from_secs(30);
        let wait = |state: &mut State| state.mode != mode;
        let (_state, waited) = self
            .state
            .1
            .wait_timeout_while(state, patience, wait)
            .unwrap();
        assert!(!waited.timed_out(), "the mode is never {mode:?}");
    }

    /// Stops forwarding on the existing connections; new ones work.
    pub fn silence(&self) {
        let mut state = self.state.0.lock().unwrap();
        state.silent = state.made;
    }

    /// Silence that ends as TCP ends it, if not by a cut before: both ends are closed after this time. Until then
    /// the server cannot know that a transaction is lost.
    pub fn silence_for(&self, time: Duration) {
        self.silence();
        let silent = self.state.0.lock().unwrap().silent;
        let state = Arc::clone(&self.state);
        std::thread::spawn(move || {
            std::thread::sleep(time);
            let mut state = state.0.lock().unwrap();
            close(state.passing.extract_if(.., |(number, _)| *number < silent));
        });
    }

    /// Closes all connections.
    pub fn cut(&self) {
        close(self.state.0.lock().unwrap().passing.drain(..));
    }
}

fn close(connections: impl Iterator<Item = (usize, TcpStream)>) {
    for (_, end) in connections {
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// Forwards bytes until one end closes.
fn pass(
    number: usize,
    mut from: TcpStream,
    mut to: TcpStream,
    is_answer: bool,
    shared: &(Mutex<State>, Condvar),
) {
    // Small, so that a break falls into the middle of frames.
    let mut buffer = [0; 2048];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut state = shared.0.lock().unwrap();
        while state.mode == Mode::Stalled {
            state = shared.1.wait(state).unwrap();
        }
        if number < state.silent {
            continue;
        }
        let mut bytes = &buffer[..count];
        let mut breaks = false;
        match state.mode {
            Mode::Swallowing if is_answer => continue,
            Mode::BreaksAfter(left) => {
                breaks = left <= count;
                bytes = &bytes[..count.min(left)];
                state.mode = if breaks {
                    Mode::Well
                } else {
                    Mode::BreaksAfter(left - count)
                };
            }
            Mode::StallsAfter(these) if !is_answer && holds(bytes, these) => {
                state.mode = Mode::Stalled;
                shared.1.notify_all();
            }
            Mode::Slow(time) if is_answer => {
                drop(state);
                std::thread::sleep(time);
                state = shared.0.lock().unwrap();
            }
            _ => {}
        }
        drop(state);
        if to.write_all(bytes).is_err() || breaks {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn holds(bytes: &[u8], these: &[u8]) -> bool {
    bytes.windows(these.len()).any(|some| some == these)
}

/// The host and port of a URL that has both.
fn place(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
