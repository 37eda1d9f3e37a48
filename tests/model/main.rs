//! A model of claiming, sending and settling. It explores every order of the steps: two publishers
//! (one takes larger steps), three rows, time that passes, and one fault at any point (a crash, a
//! lost connection, a refusal, a lost answer of the database).
//!
//! [`calls`] is a second model, of executing function calls. The steps are those of `src/engine`,
//! `src/calls/executor` and `src/backend`. To show that the model can fail, a
//! test removes its rules one by one; each time a law is broken.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod calls;
mod publisher;
mod steps;
mod world;

use std::collections::HashSet;

use world::World;

pub(crate) const ROWS: usize = 3;
/// Rows per claim.
pub(crate) const CHUNK: usize = 2;
/// The length of a lease, how long claims share one, and the last moment of the model.
pub(crate) const LEASE: u8 = 2;
pub(crate) const YOUNG: u8 = 2;
pub(crate) const END: u8 = 2;

/// The publisher whose steps are explored one by one and which faults affect; the other one takes
/// larger steps in between.
pub(crate) const FINE: usize = 0;
pub(crate) const COARSE: usize = 1;

pub(crate) type Row = u8;
pub(crate) type Token = u8;

/// The law that a state breaks.
pub(crate) type Broken = &'static str;

/// The rules on which the laws depend.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// A row is settled as sent only by its receipt.
    pub(crate) receipts: bool,
    /// Every statement that ends a lease names its token.
    pub(crate) fenced: bool,
    /// Nothing is written to the connection after the end of the lease.
    pub(crate) deadline: bool,
    /// A claim skips rows behind a blocked row of their key.
    pub(crate) held: bool,
    /// Claims that share a lease share its end.
    pub(crate) one_end: bool,
    /// A row is released if an earlier row of its key failed while it was claimed.
    pub(crate) spoiled: bool,
    /// A key with an unsent row is not skipped until the database knows.
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

/// Explores every state; returns their number, or the law that one of them breaks.
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
        "only {states} states: some steps are never taken"
    );
}

#[test]
fn without_any_one_rule_a_law_is_broken() {
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
