//! A door between a program and a server, which can be shut.

use std::io::copy;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Passes connections on while it is open.
pub(crate) struct Gate {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    is_open: bool,
    passing: Vec<TcpStream>,
}

impl Gate {
    /// A gate to the host and port of this URL.
    pub(crate) fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let target = place(url).to_owned();
        let state = Arc::new(Mutex::new(State {
            is_open: true,
            passing: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                let mut state = shared.lock().unwrap();
                if !state.is_open {
                    // Dropped: the client sees a server that closes at once.
                    continue;
                }
                let Ok(to) = TcpStream::connect(&target) else {
                    continue;
                };
                state.passing.push(from.try_clone().unwrap());
                state.passing.push(to.try_clone().unwrap());
                for (mut from, mut to) in [
                    (from.try_clone().unwrap(), to.try_clone().unwrap()),
                    (to, from),
                ] {
                    std::thread::spawn(move || {
                        let _ = copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            }
        });
        Self { address, state }
    }

    /// The URL with the gate's host and port.
    pub(crate) fn address_for(&self, url: &str) -> String {
        url.replace(place(url), &self.address.to_string())
    }

    /// Cuts what passes, and lets nobody through.
    pub(crate) fn shut(&self) {
        let mut state = self.state.lock().unwrap();
        state.is_open = false;
        for stream in state.passing.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn open(&self) {
        self.state.lock().unwrap().is_open = true;
    }
}

/// Host and port of a URL that has both.
fn place(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
