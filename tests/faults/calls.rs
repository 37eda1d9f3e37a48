//! Calls from the transaction that writes them to their execution: writers and executors at work while an
//! adversary causes faults.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use diesel::prelude::*;
use rand::Rng;
use rand::rngs::StdRng;
use uuid::Uuid;

use crate::adversary::{Adversary, OF_CALLS, Report};
use crate::clock::Clock;
use crate::executor::{self, ATTEMPTS, DELIVERY_LIMIT, Fate, IN_FLIGHT, Kind, fate, kind};
use crate::journal::{Journal, Steps};
use crate::program::wait_while_it_goes_on;
use crate::support;
use crate::verdict;
use crate::victim::Victim;
use crate::whole_way::effects_with;
use crate::world::{Row, Subject, World};
use crate::writer::{self, Plan, Progress, Writer, Written};
use crate::{WRITERS, number};

const EXECUTORS: usize = 3;
/// For each of them a writer has one call that kills its process.
const FAULTS_PER_DEADLY: usize = 12;

fn survive<C: Subject>(world: Option<World>, effects: &str) {
    let Some(world) = world else { return };
    let random = usize::try_from(rand::random::<u32>()).unwrap();
    let seed = number("OUTBOX_TEST_SEED", random);
    let faults = number("OUTBOX_TEST_FAULTS", 10);
    let calls = number("OUTBOX_TEST_ROWS", 1_500);
    let name = C::NAME;
    eprintln!("{name}: OUTBOX_TEST_SEED={seed}, {faults} faults, {calls} calls");
    world.connect::<C>().batch_execute(effects).unwrap();

    let journal = Journal::new();
    let progress = Arc::new(Progress::default());
    let of_writer = calls / WRITERS;
    let deadly = faults.div_ceil(FAULTS_PER_DEADLY);
    let writers: Vec<Writer> = (0..WRITERS)
        .map(|n| {
            let plan = plan::<C>(n, of_writer / deadly);
            Writer::start::<C>(&world, n, of_writer, seed, &progress, plan)
        })
        .collect();
    let executors = (0..EXECUTORS)
        .map(|n| executor::start::<C>(&world, &journal.path(), Clock::of::<C>(n)))
        .collect();
    let mut adversary = Adversary::new::<C>(&world, executors, None, OF_CALLS, seed);
    for fault in 1..=faults {
        progress.allow(of_writer * fault / faults);
        adversary.strike();
    }
    let (mut executors, report) = adversary.leave();
    eprintln!("{name}: {report:?}");
    let written: Vec<Written> = writers.into_iter().map(Writer::finish).collect();

    // Calls that kill their process take long: wait while there is progress.
    wait_while_it_goes_on("each call is executed or parked", || {
        executors.iter_mut().for_each(Victim::revive);
        let rows = world.rows::<C>().into_iter();
        rows.filter(|row| row.status == 1 && fate(id(row)) != Fate::Unknown)
            .count()
    });
    executors.into_iter().for_each(Victim::stop);
    let effects = world.connect::<C>().effects().into_iter();
    Verdict {
        rows: world.rows::<C>(),
        effects: effects.map(|effect| effect.msg_id).collect(),
        steps: journal.read(),
    }
    .judge(C::NAME, &written, &report);
}

/// Calls of all fates; one of `period` is deadly.
fn plan<C: Subject>(writer: usize, period: usize) -> Plan<C> {
    let mut planned = 0;
    Box::new(move |random| {
        planned += 1;
        let is_deadly = planned % period == period / 2;
        let id = loop {
            let id = new_id(random);
            if (fate(id) == Fate::Deadly) == is_deadly {
                break id;
            }
        };
        let key = writer::key(random, writer);
        Box::new(move |conn| {
            executor::write(conn, id, key)?;
            Ok(id.to_string())
        })
    })
}

fn new_id(random: &mut StdRng) -> Uuid {
    uuid::Builder::from_random_bytes(random.random()).into_uuid()
}

fn id(row: &Row) -> Uuid {
    row.id.parse().unwrap()
}

/// What is there at the end.
struct Verdict {
    rows: Vec<Row>,
    /// Ids, in the order of their effects.
    effects: Vec<String>,
    steps: HashMap<String, Steps>,
}

impl Verdict {
    fn judge(&self, name: &str, written: &[Written], report: &Report) {
        let started: Vec<String> = self.steps.keys().cloned().collect();
        verdict::law_1_and_6(&self.rows, written, &started);
        let there: HashSet<&str> = self.rows.iter().map(|row| row.id.as_str()).collect();
        for id in &started {
            assert!(there.contains(id.as_str()), "{id} ran and is in no row");
        }
        self.each_is_executed_or_parked();
        self.effects_are_there_once();
        self.order();
        let count = |is: fn(&Steps) -> usize| self.steps.values().map(is).sum::<usize>();
        let again = count(|steps| steps.done.len().saturating_sub(1));
        // What was in flight at a fault, or when a process ended by itself.
        let bound = (report.faults() + self.crashes()) * IN_FLIGHT;
        eprintln!(
            "{name}: {} calls, {} executions, {again} of them after a success, {bound} at most",
            self.rows.len(),
            count(|steps| steps.starts.len()),
        );
        assert!(again <= bound, "{again} executed again, {bound} at most");
        self.crashes_are_bounded(report);
    }

    /// Executions that neither succeeded nor failed by themselves: those of processes that ended, and those
    /// that the database hindered.
    fn crashes(&self) -> usize {
        let unfinished = self.steps.values().map(|steps| {
            let ended = steps.done.len() + steps.failed;
            steps.starts.len().saturating_sub(ended)
        });
        unfinished.sum()
    }

    fn each_is_executed_or_parked(&self) {
        let none = Steps::default();
        for row in &self.rows {
            let (id, steps) = (id(row), self.steps.get(&row.id).unwrap_or(&none));
            let (fate, reason) = (fate(id), row.last_error.as_deref().unwrap_or_default());
            let context = format!("{id}, {fate:?}, {:?}: {row:?}, {steps:?}", kind(id));
            // A killer may be the adversary, or chance.
            let was_deadly = reason.contains("its process ended while it was executed");
            let is_right = match row.status {
                2 => fate == Fate::Effect && !steps.done.is_empty(),
                1 => fate == Fate::Unknown && steps.starts.is_empty() && row.last_error.is_none(),
                -1 => match fate {
                    Fate::Effect | Fate::Deadly => was_deadly,
                    Fate::Permanent => reason == "for good" || was_deadly,
                    Fate::Exhausted => reason == "every time" || was_deadly,
                    Fate::Hangs => reason.contains("its time limit of") || was_deadly,
                    Fate::Undecodable => reason.contains("decode") && steps.starts.is_empty(),
                    Fate::Unknown => false,
                },
                _ => false,
            };
            assert!(is_right, "{context}");
            // Law 5: outages cost no attempt.
            let attempts = usize::try_from(row.retry).unwrap();
            let parking = usize::from(row.status == -1);
            assert!(
                attempts <= steps.failed + parking,
                "blamed for an outage: {context}"
            );
            if matches!(fate, Fate::Exhausted | Fate::Hangs) && !was_deadly {
                assert!(steps.failed >= ATTEMPTS as usize, "{context}");
            }
            if fate == Fate::Deadly {
                assert!(steps.done.is_empty() && was_deadly, "{context}");
            }
        }
    }

    fn effects_are_there_once(&self) {
        let mut effects: HashMap<&str, usize> = HashMap::new();
        for id in &self.effects {
            *effects.entry(id).or_default() += 1;
        }
        for row in &self.rows {
            let is_expected = kind(id(row)) == Kind::Transactional && row.status == 2;
            let found = effects.remove(row.id.as_str()).unwrap_or(0);
            assert_eq!(found, usize::from(is_expected), "effects of {row:?}");
        }
        assert!(effects.is_empty(), "effects of no call: {effects:?}");
    }

    /// A call of a key starts after the one before it has succeeded, or is parked.
    fn order(&self) {
        verdict::law_7(&self.rows, &self.effects);
        let mut last: HashMap<&str, (&Row, &Steps)> = HashMap::new();
        for row in &self.rows {
            let (Some(key), Some(steps)) = (&row.key, self.steps.get(&row.id)) else {
                continue;
            };
            let first = steps.starts[0];
            if let Some((before, earlier)) = last.insert(key, (row, steps)) {
                let since = match before.status {
                    2 => earlier.done[0],
                    _ => earlier.starts[0],
                };
                assert!(
                    since < first,
                    "key {key}: {row:?} was started before {before:?}"
                );
            }
        }
    }

    /// Calls that kill no process are parked for it only if something else did.
    fn crashes_are_bounded(&self, report: &Report) {
        let innocent = self.rows.iter().filter(|row| {
            let reason = row.last_error.as_deref().unwrap_or_default();
            row.status == -1
                && reason.contains("its process ended")
                && fate(id(row)) != Fate::Deadly
        });
        let (innocent, limit) = (innocent.count(), DELIVERY_LIMIT as usize);
        let bound = (report.faults() + self.crashes()) / limit;
        assert!(
            innocent <= bound,
            "{innocent} innocent calls are parked, {bound} at most"
        );
    }
}

#[test]
fn postgres() {
    let effects = effects_with("id bigserial primary key");
    let database = support::postgres::<diesel::PgConnection>();
    survive::<PgConnection>(World::of_calls::<PgConnection>(database), &effects);
}

#[test]
fn mysql() {
    let effects = effects_with("id bigint auto_increment primary key");
    let database = support::mysql::<diesel::MysqlConnection>();
    survive::<MysqlConnection>(World::of_calls::<MysqlConnection>(database), &effects);
}

#[test]
fn sqlite() {
    let effects = effects_with("id integer primary key");
    let database = Some(support::sqlite::<diesel::SqliteConnection>());
    survive::<SqliteConnection>(World::of_calls::<SqliteConnection>(database), &effects);
}
