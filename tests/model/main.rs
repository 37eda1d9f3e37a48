//! The steps of claiming, sending and settling as a model, looked at in every order in which they
//! can happen: two publishers (one takes larger steps), three rows, time that passes, and one thing
//! that goes wrong anywhere (a crash, a cut connection, a refusal, an answer of the database that is
//! lost).
//!
//! The steps are those of `src/relay/engine` and `src/backend`. That the model can fail is shown by
//! taking its rules away one by one: each time a law breaks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod publisher;
mod steps;
mod world;

use std::collections::HashSet;

use world::World;

pub(crate) const ROWS: usize = 3;
/// Rows claimed at a time.
pub(crate) const CHUNK: usize = 2;
/// How long a lease is, how long claims share one, and when time ends.
pub(crate) const LEASE: u8 = 2;
pub(crate) const YOUNG: u8 = 2;
pub(crate) const END: u8 = 2;

/// The publisher whose every step is looked at apart, and to whom things happen; the other one takes
/// larger steps between them.
pub(crate) const FINE: usize = 0;
pub(crate) const COARSE: usize = 1;

pub(crate) type Row = u8;
pub(crate) type Token = u8;

/// A law that is broken.
pub(crate) type Broken = &'static str;

/// What the laws rest on.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// A row is settled as sent by its receipt only.
    pub(crate) receipts: bool,
    /// Whatever ends a lease names its token.
    pub(crate) fenced: bool,
    /// Nothing is written to the connection after the end of the lease.
    pub(crate) deadline: bool,
    /// A claim passes by rows behind one of their key that is held up.
    pub(crate) held: bool,
    /// Claims that share a lease share its end.
    pub(crate) one_end: bool,
    /// A row that was claimed while an earlier one of its key failed is given back.
    pub(crate) spoiled: bool,
    /// A key with a row that was not sent is not passed by, until the database knows.
    pub(crate) troubled: bool,
}

const ALL: Rules = Rules {
    receipts: true,
    fenced: true,
    deadline: true,
    held: true,
    one_end: true,
    spoiled: true,
    troubled: true,
};

/// Looks at every state; the number of them, or the law that one breaks.
fn explore(rules: Rules) -> Result<usize, Broken> {
    let mut seen = HashSet::from([World::default().fingerprint()]);
    let mut open = vec![World::default()];
    while let Some(world) = open.pop() {
        for next in world.next(rules)? {
            let next = next.named_alike();
            if seen.insert(next.fingerprint()) {
                open.push(next);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn the_laws_hold_in_every_state() {
    let states = explore(ALL).unwrap();
    eprintln!("{states} states");
    assert!(
        states > 100_000,
        "only {states} states: something is never done"
    );
}

#[test]
fn without_any_of_the_rules_a_law_breaks() {
    let without = [
        (
            "receipts",
            Rules {
                receipts: false,
                ..ALL
            },
            "law 3",
        ),
        (
            "fenced",
            Rules {
                fenced: false,
                ..ALL
            },
            "law 4",
        ),
        (
            "deadline",
            Rules {
                deadline: false,
                ..ALL
            },
            "law 4",
        ),
        ("held", Rules { held: false, ..ALL }, "law 7"),
        (
            "one_end",
            Rules {
                one_end: false,
                ..ALL
            },
            "law 7",
        ),
        (
            "spoiled",
            Rules {
                spoiled: false,
                ..ALL
            },
            "law 7",
        ),
        (
            "troubled",
            Rules {
                troubled: false,
                ..ALL
            },
            "law 7",
        ),
    ];
    for (name, rules, law) in without {
        let broken = explore(rules).expect_err(name);
        assert!(broken.starts_with(law), "{name}: {broken}");
    }
}
