//! Lifetimes and type parameters, and models that are not written back.

use std::borrow::Cow;

use diesel::prelude::*;
use diesel_outbox::{Error, Publish, Save};
use serde::Serialize;

diesel::table! {
    notes {
        id -> BigInt,
        text -> Text,
        tag -> Nullable<Text>,
    }
}

#[derive(Publish)]
#[publish(destination = "/queue/notes", key = text)]
struct Note<'a, 'b: 'a> {
    id: i64,
    text: &'a str,
    tag: Option<Cow<'b, str>>,
}

#[derive(Publish)]
#[publish(destination = "/queue/envelopes", fields(payload))]
#[publish(destination = "/queue/sizes", serializer = Self::size)]
#[publish(save = false)]
struct Envelope<T: Serialize, const N: usize>
where
    T: Clone,
{
    id: i64,
    payload: Vec<T>,
}

impl<T: Serialize + Clone, const N: usize> Envelope<T, N> {
    fn size(&self) -> usize {
        N
    }
}

fn save<'a>(note: Note<'a, 'a>, conn: &mut SqliteConnection) -> Result<Note<'a, 'a>, Error> {
    note.save(conn)
}

#[test]
fn has_messages() {
    let _ = save;
    let envelope = Envelope::<_, 3> {
        id: 1,
        payload: vec!["a"],
    };
    assert!(envelope.messages().is_ok());
}
