//! From `save` to the effect: writers, publishers, the broker and a subscriber at work while an
//! adversary causes faults.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use diesel::prelude::*;
use diesel_outbox::stomp::{Client, Options, SendFrame, Subscribe};

use crate::adversary::{Adversary, OF_MESSAGES};
use crate::clock::Clock;
use crate::consumer::Consumer;
use crate::program::{wait_until, wait_while_it_goes_on};
use crate::subscriber::{self, Fate, fate};
use crate::support;
use crate::verdict;
use crate::victim::Victim;
use crate::world::{Effect, Subject, World};
use crate::writer::{self, Progress, Writer};
use crate::{WRITERS, number, publisher};

const PUBLISHERS: usize = 2;

fn survive<C: Subject>(world: Option<World>, effects: &str) {
    let Some(world) = world else { return };
    let random = usize::try_from(rand::random::<u32>()).unwrap();
    let seed = number("OUTBOX_TEST_SEED", random);
    let faults = number("OUTBOX_TEST_FAULTS", 12);
    let rows = number("OUTBOX_TEST_ROWS", 2_000);
    let name = C::NAME;
    eprintln!("{name}: OUTBOX_TEST_SEED={seed}, {faults} faults, {rows} rows, the whole way");
    let mut conn = world.connect::<C>();
    conn.batch_execute(effects).unwrap();

    // One worker: with several, the order of a key's effects is not promised.
    let mut subscriber = subscriber::start::<C>(&world, Clock::of::<C>(PUBLISHERS));
    subscriber.wait_for_line("subscribed");
    let witness = Consumer::beside(&world);
    let progress = Arc::new(Progress::default());
    let writers: Vec<Writer> = (0..WRITERS)
        .map(|n| {
            let plan = writer::messages(n, world.topic());
            Writer::start::<C>(&world, n, rows / WRITERS, seed, &progress, plan)
        })
        .collect();
    let publishers = (0..PUBLISHERS).map(|n| publisher::start_with::<C>(&world, Clock::of::<C>(n)));
    let victims = publishers.chain([subscriber]).collect();
    let mut adversary = Adversary::new::<C>(&world, victims, None, OF_MESSAGES, seed);
    for fault in 1..=faults {
        progress.allow(rows / WRITERS * fault / faults);
        adversary.strike();
    }
    let (mut victims, report) = adversary.leave();
    eprintln!("{name}: {report:?}");
    let rolled_back: HashSet<String> = writers
        .into_iter()
        .flat_map(|writer| writer.finish().rolled_back)
        .collect();

    let mut dead_letters = HashMap::new();
    // Messages that kill their process take long: wait while there is progress.
    wait_while_it_goes_on("each has its effect or its dead letter", || {
        victims.iter_mut().for_each(Victim::revive);
        dead_letters.extend(take_dead_letters(&world));
        let effects = world.connect::<C>().effects().into_iter();
        let effects: HashSet<String> = effects.map(|effect| effect.msg_id).collect();
        let rows = world.rows::<C>().into_iter().map(|row| row.id);
        rows.filter(|id| !effects.contains(id))
            .chain(report.unreadable.iter().cloned())
            .filter(|id| !dead_letters.contains_key(id))
            .count()
    });
    wait_until("all is settled", || world.waiting::<C>() == 0);
    victims.into_iter().for_each(Victim::stop);

    let rows = world.rows::<C>();
    let effects = world.connect::<C>().effects();
    let mut seen = HashSet::new();
    for Effect { msg_id: id, .. } in &effects {
        assert!(seen.insert(id.as_str()), "{id} has two effects");
        assert!(!rolled_back.contains(id), "{id} was rolled back");
        assert_eq!(fate(id), Fate::Effect, "{id}");
    }
    for row in &rows {
        assert_eq!(row.status, 2, "{} has failed: {:?}", row.id, row.last_error);
        let reason = dead_letters.get(&row.id).map_or("", String::as_str);
        // Law 9: whatever was away, only callbacks fail, with their own errors.
        let was_deadly = reason.contains("2 attempts at it ended");
        let is_true = match fate(&row.id) {
            Fate::Effect => reason.is_empty() || reason.contains("at random") || was_deadly,
            // It may have run beside a message that killed its process.
            Fate::Letter => reason == "for good" || was_deadly,
            Fate::Deadly => was_deadly,
        };
        assert!(is_true, "{}, {:?}: {reason}", row.id, fate(&row.id));
    }
    wait_until("the witness has all", || witness.arrived() >= rows.len());
    let in_order: Vec<String> = witness.look(|arrivals| {
        verdict::law_7(&rows, &arrivals.first);
        // A dead letter lets its key continue, and its second copy may have its effect later. The next
        // connection may get later messages before the broker has taken back those of the last one.
        let may_be_late = |effect: &Effect| {
            effect.redelivered == 1
                || dead_letters.contains_key(&effect.msg_id)
                || arrivals.twice.contains(&effect.msg_id)
        };
        let on_time = effects.iter().filter(|effect| !may_be_late(effect));
        on_time.map(|effect| effect.msg_id.clone()).collect()
    });
    verdict::law_7(&rows, &in_order);
    let judged = in_order.len();
    let others = effects
        .iter()
        .map(|effect| &effect.msg_id)
        .filter(|id| !dead_letters.contains_key(*id));
    let late = verdict::late(&rows, others);
    let (rows, effects, dead_letters) = (rows.len(), effects.len(), dead_letters.len());
    eprintln!(
        "{name}: {rows} rows, {effects} effects, {judged} judged by their order, {late} late, {dead_letters} dead letters"
    );
}

/// The content of the dead-letter queue, with the reason of each.
fn take_dead_letters(world: &World) -> HashMap<String, String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = Options::from_url(world.broker()).unwrap();
    let take = async {
        let client = Client::connect(&options).await?;
        let destination = format!("/amq/queue/DLQ.{}", world.queue);
        let subscribe = Subscribe {
            destination: destination.clone(),
            headers: Vec::new(),
        };
        let mut subscription = client.subscribe(subscribe).await?;
        let last = SendFrame::new(destination, "").header("last", "true");
        client.send(last).await?;
        let mut dead_letters = HashMap::new();
        while let Some(delivery) = subscription.next().await {
            client.ack(&delivery).await?;
            if delivery.header("last").is_some() {
                break;
            }
            let header = |name: &str| delivery.header(name).unwrap_or_default().to_owned();
            dead_letters.insert(header("dop-msg-id"), header("outbox-error"));
        }
        Ok::<_, diesel_outbox::stomp::Error>(dead_letters)
    };
    runtime.block_on(take).unwrap()
}

/// The callback's table, in the order of writing.
pub(crate) fn effects_with(id: &str) -> String {
    format!(
        "create table effects ({id}, msg_id text not null, redelivered integer not null default 0)"
    )
}

#[test]
fn postgres() {
    let effects = effects_with("id bigserial primary key");
    survive::<PgConnection>(
        World::new::<PgConnection>(support::postgres::<diesel::PgConnection>()),
        &effects,
    );
}

#[test]
fn mysql() {
    let effects = effects_with("id bigint auto_increment primary key");
    survive::<MysqlConnection>(
        World::new::<MysqlConnection>(support::mysql::<diesel::MysqlConnection>()),
        &effects,
    );
}

#[test]
fn sqlite() {
    let effects = effects_with("id integer primary key");
    let database = Some(support::sqlite::<diesel::SqliteConnection>());
    survive::<SqliteConnection>(World::new::<SqliteConnection>(database), &effects);
}
