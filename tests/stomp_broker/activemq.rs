//! What ActiveMQ does in its own way.

use super::*;

async fn subscribe(client: &Client, destination: &str, headers: &[(&str, &str)]) -> Subscription {
    let headers = headers.iter().map(|(name, value)| header(name, value));
    let subscribe = Subscribe {
        destination: destination.to_owned(),
        headers: headers.collect(),
    };
    within(client.subscribe(subscribe)).await.unwrap()
}

fn message(destination: &str, body: &'static [u8]) -> SendFrame {
    SendFrame::new(destination, body.to_vec()).header("persistent", "true")
}

fn name() -> String {
    format!("outbox-test-{}", uuid::Uuid::new_v4())
}

/// At once to its own queue of dead letters, whatever `requeue` says. The id, which holds colons,
/// stays the message's.
#[tokio::test]
async fn a_nack_goes_to_the_dead_letters() {
    let Some(place) = Place::activemq(Version::V1_2) else {
        return;
    };
    let client = place.connect().await;
    let queue = place.queue();
    let mut subscription = queue.subscribe(&client).await.unwrap();
    within(client.send(queue.message(b"1"))).await.unwrap();
    let given_up = next(&mut subscription).await;
    assert!(given_up.message_id.starts_with("ID:"), "{given_up:?}");
    within(client.nack(&given_up, true)).await.unwrap();
    let browse = [("browser", "true")];
    let mut dead = subscribe(&client, "/queue/ActiveMQ.DLQ", &browse).await;
    loop {
        let delivery = next(&mut dead).await;
        assert_ne!(
            delivery.header("browser"),
            Some("end"),
            "not among the dead letters"
        );
        if delivery.header("original-destination") == Some(&queue.destination) {
            assert_eq!(delivery.message_id, given_up.message_id);
            break;
        }
    }
}

/// The ERROR names the receipt of the frame that it is about, and the connection stays.
#[tokio::test]
async fn an_error_names_its_receipt() {
    let Some(place) = Place::activemq(Version::V1_2) else {
        return;
    };
    let client = place.connect().await;
    let queue = place.queue();
    let mut subscription = queue.subscribe(&client).await.unwrap();
    within(client.send(queue.message(b"1"))).await.unwrap();
    let delivery = next(&mut subscription).await;
    within(client.ack(&delivery)).await.unwrap();
    let error = within(client.ack(&delivery)).await.unwrap_err();
    assert!(error.names_receipt(), "{error}");
    assert!(error.to_string().len() < 1500, "no stack trace: {error}");
    within(client.ping()).await.unwrap();
}

/// It belongs to the client's id and its own name, and UNSUBSCRIBE leaves it.
#[tokio::test]
async fn a_durable_subscription_collects_while_nobody_listens() {
    let Some(place) = Place::activemq(Version::V1_2) else {
        return;
    };
    let (name, sender) = (name(), place.connect().await);
    let topic = format!("/topic/{name}");
    let options = place.options().client_id(&name);
    let durable = [("activemq.subscriptionName", name.as_str())];
    let client = within(Client::connect(&options)).await.unwrap();
    let subscription = subscribe(&client, &topic, &durable).await;
    within(subscription.unsubscribe()).await.unwrap();
    within(client.disconnect()).await.unwrap();

    within(sender.send(message(&topic, b"meanwhile")))
        .await
        .unwrap();

    let client = within(Client::connect(&options)).await.unwrap();
    let mut subscription = subscribe(&client, &topic, &durable).await;
    let delivery = next(&mut subscription).await;
    assert_eq!(&delivery.body[..], b"meanwhile");
    within(client.ack(&delivery)).await.unwrap();
    within(client.disconnect()).await.unwrap();
}

/// A second one with the same client id is refused, until the first is gone.
#[tokio::test]
async fn a_client_id_is_one_connections_own() {
    let Some(place) = Place::activemq(Version::V1_2) else {
        return;
    };
    let options = place.options().client_id(&name());
    let first = within(Client::connect(&options)).await.unwrap();
    let error = within(Client::connect(&options)).await.unwrap_err();
    let kind = error.error_frame().unwrap().kind();
    assert_eq!(kind, ErrorKind::ClientIdInUse, "{error}");
    assert!(!error.is_refused_login(), "it is waited for");
    assert!(error.to_string().contains("virtual topic"), "{error}");
    within(first.disconnect()).await.unwrap();
    within(Client::connect(&options)).await.unwrap();
}

/// Several consumers of one topic: each takes from the queue of its own that a virtual topic fills.
#[tokio::test]
async fn a_virtual_topic_fills_queues() {
    let Some(place) = Place::activemq(Version::V1_2) else {
        return;
    };
    let (name, client) = (name(), place.connect().await);
    let queue = format!("/queue/Consumer.billing.VirtualTopic.{name}");
    let mut subscription = subscribe(&client, &queue, &[]).await;
    let topic = format!("/topic/VirtualTopic.{name}");
    within(client.send(message(&topic, b"1"))).await.unwrap();
    let delivery = next(&mut subscription).await;
    within(client.ack(&delivery)).await.unwrap();
}
