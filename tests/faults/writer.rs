//! Transactions with messages or calls, some of which are rolled back.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use diesel_outbox::admin::Rows;
use diesel_outbox::{BoxError, Message};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::world::{Subject, World};

/// How much may be written.
#[derive(Default)]
pub(crate) struct Progress {
    allowed: Mutex<usize>,
    more: Condvar,
}

impl Progress {
    pub(crate) fn allow(&self, rows: usize) {
        *self.allowed.lock().unwrap() = rows;
        self.more.notify_all();
    }

    fn wait_for(&self, rows: usize) {
        let mut allowed = self.allowed.lock().unwrap();
        while *allowed < rows {
            allowed = self.more.wait(allowed).unwrap();
        }
    }
}

/// The writer's record of its rows.
#[derive(Default)]
pub(crate) struct Written {
    pub(crate) committed: Vec<String>,
    pub(crate) rolled_back: Vec<String>,
}

/// A thread that writes. No other writer uses its keys, so the order of their rows is that of its
/// transactions.
pub(crate) struct Writer(JoinHandle<Written>);

const KEYS: usize = 5;

/// Message texts that look like errors.
const WORDS: [&str; 5] = [
    "my dog has lost connection to his owner",
    "ERROR: deadlock detected; terminating connection; database is locked",
    "cannot execute the transfer: server has gone away",
    "FATAL: the database system is shutting down",
    "disk I/O error, \u{1f4a5} too many connections \u{0085}\u{2028}",
];

/// Writes a row and returns its id.
pub(crate) type Write<C> = Box<dyn FnOnce(&mut C) -> Result<String, BoxError>>;

/// Decides what to write next.
pub(crate) type Plan<C> = Box<dyn FnMut(&mut StdRng) -> Write<C> + Send>;

/// A key that only this writer uses, or none.
pub(crate) fn key(random: &mut StdRng, writer: usize) -> Option<String> {
    let key = format!("{writer}-{}", random.random_range(0..KEYS));
    random.random_bool(0.7).then_some(key)
}

/// Messages of many lengths; some ids are spelled as other services spell them.
pub(crate) fn messages<C: Subject>(writer: usize, destination: String) -> Plan<C> {
    Box::new(move |random| {
        let key = key(random, writer);
        let mut body = WORDS[random.random_range(0..WORDS.len())].to_owned();
        // Mostly one byte, seldom a hundred thousand or a million.
        let length = match random.random_range(0..500) {
            0 => 1_000_000,
            1..5 => 100_000,
            5..100 => 1_000,
            _ => 1,
        };
        body.push_str(&"x".repeat(length));
        let is_respelled = random.random_bool(0.05);
        let message = Message::new(destination.as_str(), body).key(key);
        Box::new(move |conn| {
            let id = message.publish(conn)?.to_string();
            if is_respelled {
                conn.respell(&id)?;
            }
            Ok(id)
        })
    })
}

impl Writer {
    pub(crate) fn start<C: Subject>(
        world: &World,
        number: usize,
        rows: usize,
        seed: usize,
        progress: &Arc<Progress>,
        mut plan: Plan<C>,
    ) -> Self {
        let (url, kind) = (world.database.url.clone(), world.kind);
        let progress = Arc::clone(progress);
        let mut random = StdRng::seed_from_u64(u64::try_from(seed * 10 + number).unwrap());
        Self(std::thread::spawn(move || {
            let mut written = Written::default();
            let mut conn = None;
            while written.committed.len() < rows {
                progress.wait_for(written.committed.len() + 1);
                let rows: Vec<Write<C>> = (0..random.random_range(1..=10))
                    .map(|_| plan(&mut random))
                    .collect();
                let commits = random.random_bool(0.9);
                transaction::<C>((&url, kind), &mut conn, rows, commits, &mut written);
            }
            written
        }))
    }

    pub(crate) fn finish(self) -> Written {
        self.0.join().unwrap()
    }
}

/// Writes rows, or rolls them back. If the database is not available it waits, and finds out the result of
/// its transaction.
fn transaction<C: Subject>(
    (url, kind): (&str, Rows),
    conn: &mut Option<C>,
    rows: Vec<Write<C>>,
    commits: bool,
    written: &mut Written,
) {
    let mut ids = Vec::new();
    let open = conn.take().map_or_else(|| C::open(url), Ok);
    let Ok(mut open) = open else {
        std::thread::sleep(Duration::from_millis(50));
        return;
    };
    let result = open.transaction::<(), BoxError, _>(|conn| {
        for write in rows {
            ids.push(write(conn)?);
        }
        if commits {
            Ok(())
        } else {
            Err("rolled back on purpose".into())
        }
    });
    let was_rolled_back = || {
        result
            .as_ref()
            .is_err_and(|error| error.to_string().contains("on purpose"))
    };
    if result.is_ok() {
        written.committed.append(&mut ids);
        *conn = Some(open);
    } else if was_rolled_back() {
        written.rolled_back.append(&mut ids);
        *conn = Some(open);
    } else if let Some(first) = ids.first() {
        // The server may have received its COMMIT all the same: the rows themselves show it.
        drop(open);
        let mut again = loop {
            match C::open(url) {
                Ok(again) => break again,
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        let is_there = again.rows(kind).iter().any(|row| row.id == *first);
        if is_there {
            written.committed.append(&mut ids);
        } else {
            written.rolled_back.append(&mut ids);
        }
        *conn = Some(again);
    }
}
