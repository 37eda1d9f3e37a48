//! From `save` to the effect: writers, publishers, the broker and a subscriber at work while an
//! adversary breaks things.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use diesel::prelude::*;
use diesel_outbox::stomp::{Client, Options, SendFrame, Subscribe};

use crate::adversary::Adversary;
use crate::program::{wait_until, wait_while_it_goes_on};
use crate::subscriber::{self, Fate, fate};
use crate::support;
use crate::verdict;
use crate::victim::Victim;
use crate::world::{Subject, World};
use crate::writer::{Progress, Writer};
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

    // One: with several, the order of a key's effects is not promised.
    let mut subscriber = subscriber::start::<C>(&world);
    subscriber.wait_for_line("subscribed");
    let progress = Arc::new(Progress::default());
    let writers: Vec<Writer> = (0..WRITERS)
        .map(|n| Writer::start::<C>(&world, n, rows / WRITERS, seed, &progress))
        .collect();
    let publishers = (0..PUBLISHERS).map(|_| publisher::start::<C>(&world));
    let victims = publishers.chain([subscriber]).collect();
    let mut adversary = Adversary::new::<C>(&world, victims, None, seed);
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

    let mut letters = HashMap::new();
    // Messages that kill their process take their time: as long as something comes of it.
    wait_while_it_goes_on("each has its effect or its letter", || {
        victims.iter_mut().for_each(Victim::revive);
        letters.extend(take_letters(&world));
        let effects: HashSet<String> = world.connect::<C>().effects().into_iter().collect();
        let rows = world.connect::<C>().rows().into_iter().map(|row| row.id);
        rows.filter(|id| !effects.contains(id))
            .chain(report.unreadable.iter().cloned())
            .filter(|id| !letters.contains_key(id))
            .count()
    });
    wait_until("all is settled", || world.waiting::<C>() == 0);
    victims.into_iter().for_each(Victim::stop);

    let rows = world.connect::<C>().rows();
    let effects = world.connect::<C>().effects();
    let mut seen = HashSet::new();
    for id in &effects {
        assert!(seen.insert(id.as_str()), "{id} has two effects");
        assert!(!rolled_back.contains(id), "{id} was rolled back");
        assert_eq!(fate(id), Fate::Effect, "{id}");
    }
    for row in &rows {
        assert_eq!(row.status, 2, "{} has failed: {:?}", row.id, row.last_error);
        let reason = letters.get(&row.id).map_or("", String::as_str);
        // Law 9: whatever was away, only callbacks fail, by their own words.
        let was_deadly = reason.contains("was begun 2 times");
        let is_true = match fate(&row.id) {
            Fate::Effect => reason.is_empty() || reason.contains("at random") || was_deadly,
            // It may have run beside what killed its process.
            Fate::Letter => reason == "for good" || was_deadly,
            Fate::Deadly => was_deadly,
        };
        assert!(is_true, "{}, {:?}: {reason}", row.id, fate(&row.id));
    }
    // One that became a dead letter let its key go on; a second copy of it, which a relay has sent for
    // want of the first one's receipt, has its effect whenever it comes.
    let in_order: Vec<String> = effects
        .iter()
        .filter(|id| !letters.contains_key(*id))
        .cloned()
        .collect();
    verdict::law_7(&rows, &in_order);
    let (rows, effects, letters) = (rows.len(), effects.len(), letters.len());
    eprintln!("{name}: {rows} rows, {effects} effects, {letters} letters");
}

/// What lies in the queue of dead letters, with the reason of each.
fn take_letters(world: &World) -> HashMap<String, String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = Options::from_url(&world.broker).unwrap();
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
        let mut letters = HashMap::new();
        while let Some(delivery) = subscription.next().await {
            client.ack(&delivery).await?;
            if delivery.header("last").is_some() {
                break;
            }
            let header = |name: &str| delivery.header(name).unwrap_or_default().to_owned();
            letters.insert(header("dop-msg-id"), header("outbox-error"));
        }
        Ok::<_, diesel_outbox::stomp::Error>(letters)
    };
    runtime.block_on(take).unwrap()
}

#[test]
fn postgres() {
    let effects = "create table effects (id bigserial primary key, msg_id text not null)";
    survive::<PgConnection>(World::new::<PgConnection>(support::postgres()), effects);
}

#[test]
fn mysql() {
    let effects =
        "create table effects (id bigint auto_increment primary key, msg_id text not null)";
    survive::<MysqlConnection>(World::new::<MysqlConnection>(support::mysql()), effects);
}

#[test]
fn sqlite() {
    let effects = "create table effects (id integer primary key, msg_id text not null)";
    let database = Some(support::sqlite());
    survive::<SqliteConnection>(World::new::<SqliteConnection>(database), effects);
}
