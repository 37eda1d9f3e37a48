//! Destinations, versions, bodies and ordering keys.

use diesel_outbox::{Error, Message, MessageError, Publish};
use serde::ser::Error as _;
use serde_json::{Value, json};

use crate::models::{Line, Tag, order, product};

/// Destination, body and ordering key of each message.
fn message_parts(model: &impl Publish) -> Vec<(String, Value, Option<String>)> {
    let parts = |message: &Message| {
        (
            message.destination().to_owned(),
            message.body().expect("a body").clone(),
            message.ordering_key().map(str::to_owned),
        )
    };
    model.messages().unwrap().iter().map(parts).collect()
}

fn bodies(model: &impl Publish) -> Vec<Value> {
    message_parts(model)
        .into_iter()
        .map(|(_, body, _)| body)
        .collect()
}

#[test]
fn each_attribute_is_a_message_in_their_order() {
    let expected = vec![
        (
            "/topic/orders.v1".to_owned(),
            json!({"id": 3, "customer": "ann", "total": 12}),
            None,
        ),
        (
            "/topic/orders.audit".to_owned(),
            json!(["ann", 12]),
            Some("3".to_owned()),
        ),
        (
            "/queue/all".to_owned(),
            json!({"id": 3, "customer": "ann", "total": 12, "note": null}),
            None,
        ),
        (
            "/queue/named".to_owned(),
            json!({"id": 3}),
            Some("a".to_owned()),
        ),
    ];
    assert_eq!(message_parts(&order()), expected);
}

#[test]
fn a_key_from_an_optional_field_follows_it() {
    let mut order = order();
    order.note = Some("vip".into());
    assert_eq!(message_parts(&order)[2].2.as_deref(), Some("vip"));
}

#[test]
fn a_composite_key_is_a_list_in_the_order_of_the_key() {
    let line = Line {
        line: 2,
        order_id: 9,
        amount: 5,
    };
    assert_eq!(
        bodies(&line),
        [
            json!({"id": [9, 2], "amount": 5}),
            json!({"id": [9, 2], "line": 2}),
        ]
    );
}

#[test]
fn a_struct_of_keys_only_tells_its_key() {
    let tag = Tag {
        code: "a".into(),
        label: "x".into(),
    };
    assert_eq!(bodies(&tag), [json!({"id": ["a", "x"]})]);
}

#[test]
fn a_key_of_another_name_is_id_and_repeated_only_where_named() {
    assert_eq!(
        bodies(&product()),
        [
            json!({"id": "p1", "type": "book", "price": 10, "stock": 1, "label": "new"}),
            json!({"id": "p1", "sku": "p1", "type": "book"}),
        ]
    );
}

#[derive(Publish)]
#[publish(destination = "/queue/broken", fields(r#type))]
#[publish(save = false)]
struct Broken {
    id: i32,
    r#type: Unserialisable,
}

struct Unserialisable;

impl serde::Serialize for Unserialisable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("out of order"))
    }
}

#[test]
fn a_field_that_is_no_json_is_named() {
    let broken = Broken {
        id: 1,
        r#type: Unserialisable,
    };
    match broken.messages() {
        Err(Error::Message(MessageError::Field { field, source })) => {
            assert_eq!(field, "type");
            assert_eq!(source.to_string(), "out of order");
        }
        other => panic!("unexpected: {other:?}"),
    }
}

#[derive(Publish)]
#[publish(destination = "/queue/readings")]
#[publish(destination = "/queue/readings.whole", serializer = Reading::whole)]
#[publish(save = false)]
struct Reading {
    id: i32,
    degrees: f32,
    others: Vec<Option<f32>>,
}

impl Reading {
    fn whole(&self) -> impl serde::Serialize + '_ {
        (self.degrees, &self.others, 0.1_f64)
    }
}

/// JSON has the digits of the f32, not those of the f64 that is next to it.
#[test]
fn an_f32_is_published_as_it_is_written() {
    let reading = Reading {
        id: 1,
        degrees: 0.1,
        others: vec![Some(36.6), None],
    };
    let expected = [
        json!({"id": 1, "degrees": 0.1, "others": [36.6, null]}),
        json!([0.1, [36.6, null], 0.1]),
    ];
    assert_eq!(bodies(&reading), expected);
    let message = Message::new("/queue/a", 0.1_f32);
    assert_eq!(message.body(), Some(&json!(0.1)));
}
