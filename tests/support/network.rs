//! The network between a program and a server, which may fail.
#![allow(dead_code)] // each suite uses its own part of it

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What a network does with the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// It passes them on.
    Well,
    /// It keeps them, and passes them on later.
    Stalled,
    /// It drops what the server says.
    Swallowing,
    /// It passes so many on, and then breaks.
    BreaksAfter(usize),
    /// It passes on what holds these, and then stalls.
    StallsAfter(&'static [u8]),
    /// It takes so long for each answer.
    Slow(Duration),
    /// It is not there: connections are closed, those that are made as well.
    Away,
}

struct State {
    mode: Mode,
    passing: Vec<TcpStream>,
    /// How many connections were made.
    made: usize,
    /// The first of these are silent: nothing goes over them, and they stay open.
    silent: usize,
}

/// A network with one server.
pub(crate) struct Network {
    address: SocketAddr,
    target: String,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Network {
    /// To the host and port of this URL.
    pub(crate) fn to(url: &str) -> Self {
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
                // Dropped where the server is away: the client sees it close.
                let Ok(server) = TcpStream::connect(&server) else {
                    continue;
                };
                let of = |stream: &TcpStream| stream.try_clone().unwrap();
                state.passing.extend([of(&client), of(&server)]);
                let number = state.made;
                state.made += 1;
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

    /// The URL with the host and port of this network's near end.
    pub(crate) fn address_for(&self, url: &str) -> String {
        url.replace(&self.target, &self.address.to_string())
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.state.0.lock().unwrap().mode = mode;
        self.state.1.notify_all();
        if mode == Mode::Away {
            self.cut();
        }
    }

    /// Waits until it is in this mode, into which another one may turn by itself.
    pub(crate) fn wait_for(&self, mode: Mode) {
        let state = self.state.0.lock().unwrap();
        let patience = Duration::from_secs(30);
        let wait = |state: &mut State| state.mode != mode;
        let (_state, waited) = self
            .state
            .1
            .wait_timeout_while(state, patience, wait)
            .unwrap();
        assert!(!waited.timed_out(), "it is never {mode:?}");
    }

    /// From now on nothing goes over the connections that there are; new ones are well.
    pub(crate) fn silence(&self) {
        let mut state = self.state.0.lock().unwrap();
        state.silent = state.made;
    }

    /// Cuts all connections there are.
    pub(crate) fn cut(&self) {
        for stream in self.state.0.lock().unwrap().passing.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Passes bytes on until one of the ends is gone.
fn pass(
    number: usize,
    mut from: TcpStream,
    mut to: TcpStream,
    is_answer: bool,
    shared: &(Mutex<State>, Condvar),
) {
    // Small, so that a break comes in the middle of frames.
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

/// Host and port of a URL that has both.
fn place(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
