//! What a function learns about its execution.

use diesel_outbox::calls::{Call, CallInfo, Immediate};
use diesel_outbox::correlation;

use crate::immediate::handle;
use crate::place::{Await, Block, Place, Stage, Subject, Within, failure};

/// Each call fails once.
fn stage() -> Stage {
    Stage::new(|_, before| match before {
        0 => failure("not yet"),
        _ => Ok(()),
    })
}

/// The executions of calls that were written with a name, an id and options.
fn infos_of(stage: &Stage, name: &str) -> Vec<CallInfo> {
    let infos = stage.told().infos.clone();
    infos.into_iter().filter(|it| it.name == name).collect()
}

/// Two attempts, with all that was given to the call.
fn had_two_attempts(stage: &Stage, name: &str, id: uuid::Uuid) {
    let infos = infos_of(stage, name);
    let attempts: Vec<u32> = infos.iter().map(|it| it.attempt).collect();
    assert_eq!(attempts, [1, 2], "{name}");
    for info in infos {
        assert_eq!(info.id, id);
        assert_eq!(info.stream.as_deref(), Some("mail"), "{name}");
        assert_eq!(info.key.as_deref(), Some(name));
        assert_eq!(info.correlation_id.as_deref(), Some("request-7"), "{name}");
    }
}

pub(crate) fn an_executor_says_what_was_written<C: Subject>(place: &Place<C>) {
    let stage = stage();
    let mut conn = place.connect();
    let ids = correlation::scope("request-7", || {
        let conn = &mut conn;
        [
            Block { n: 1 }.stream("mail").key("test.block").write(conn),
            Await { n: 2 }.stream("mail").key("test.await").write(conn),
            Within { n: 3 }
                .stream("mail")
                .key("test.within")
                .write(conn),
        ]
    });
    let running = place.start(&stage);
    place.wait_for_statuses(&[2, 2, 2]);
    running.stop();
    let names = ["test.block", "test.await", "test.within"];
    for (name, id) in names.into_iter().zip(ids) {
        had_two_attempts(&stage, name, id.unwrap());
    }
}

pub(crate) fn after_the_commit_it_says_the_same<C: Subject>(place: &Place<C>) {
    let stage = stage();
    let handle: Immediate<C> = handle(place, &stage);
    let mut conn = place.connect();
    let ids = correlation::scope("request-7", || {
        handle.transaction::<_, _, diesel_outbox::Error>(&mut conn, |conn| {
            Ok([
                Block { n: 1 }
                    .stream("mail")
                    .key("test.block")
                    .write(conn)?,
                Within { n: 3 }
                    .stream("mail")
                    .key("test.within")
                    .write(conn)?,
            ])
        })
    });
    assert_eq!(stage.started(), [1, 3]);
    let running = place.start(&stage);
    place.wait_for_statuses(&[2, 2]);
    running.stop();
    for (name, id) in ["test.block", "test.within"].into_iter().zip(ids.unwrap()) {
        had_two_attempts(&stage, name, id);
    }
}

pub(crate) fn a_call_without_options_has_none<C: Subject>(place: &Place<C>) {
    let stage = Stage::quiet();
    let mut conn = place.connect();
    Block { n: 1 }.write(&mut conn).unwrap();
    place.once(&stage);
    let info = infos_of(&stage, "test.block").remove(0);
    assert_eq!((info.stream, info.key, info.deadline), (None, None, None));
}
