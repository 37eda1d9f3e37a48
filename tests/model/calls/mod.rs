//! A model of executing function calls: two executors, three calls of one key, time that passes, one attempt
//! that fails, and one fault at any point (a crash, a lost connection to the database, a lost answer of it).
//!
//! An executor without a connection is also one that is stopped: others work while its clock goes on. Renewals
//! are a part of time: as long as nothing goes wrong they are in time.

mod executor;
mod steps;
mod world;

use std::collections::HashSet;

use world::World;

use crate::Broken;

/// Calls per claim.
pub(crate) const CHUNK: usize = 2;
pub(crate) const EXECUTORS: usize = 2;
/// The length of a lease, and the last moment of the model.
pub(crate) const LEASE: u8 = 2;
pub(crate) const END: u8 = 4;
/// Whether the function works in the transaction that settles its row, in the order of the calls.
pub(crate) const IN_TRANSACTION: [bool; 3] = [true, false, true];

/// The rules on which the laws depend.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// Leases are renewed while calls run.
    pub(crate) renewed: bool,
    /// Every statement that ends a lease names its token.
    pub(crate) fenced: bool,
    /// No call starts after the end of its lease.
    pub(crate) deadline: bool,
    /// The first statement of a function's transaction settles its row.
    pub(crate) settled_within: bool,
    /// A claim skips calls behind a call of their key that is leased or pauses after a failure.
    pub(crate) held: bool,
    /// A claim skips calls behind a call of their key whose row is locked.
    pub(crate) locked: bool,
    /// An executor runs one call of a key at a time.
    pub(crate) one_of_a_key: bool,
    /// A call is released if an earlier one of its key was not done.
    pub(crate) withdrawn: bool,
}

const ALL: Rules = Rules {
    renewed: true,
    fenced: true,
    deadline: true,
    settled_within: true,
    held: true,
    locked: true,
    one_of_a_key: true,
    withdrawn: true,
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
    eprintln!("{states} states of calls");
    assert!(
        states > 10_000,
        "only {states} states: some steps are never taken"
    );
}

#[test]
fn without_any_one_rule_a_law_is_broken() {
    type Remove = fn(&mut Rules);
    let without: [(&str, Remove, &str); 8] = [
        ("renewed", |rules| rules.renewed = false, "law 2"),
        ("fenced", |rules| rules.fenced = false, "law 4"),
        ("deadline", |rules| rules.deadline = false, "law 4"),
        (
            "settled_within",
            |rules| rules.settled_within = false,
            "law 3",
        ),
        ("held", |rules| rules.held = false, "law 5"),
        ("locked", |rules| rules.locked = false, "law 5"),
        ("one_of_a_key", |rules| rules.one_of_a_key = false, "law 5"),
        ("withdrawn", |rules| rules.withdrawn = false, "law 5"),
    ];
    for (name, remove, law) in without {
        let mut rules = ALL;
        remove(&mut rules);
        let broken = explore(rules).expect_err(name);
        assert!(broken.starts_with(law), "{name}: {broken}");
    }
}
