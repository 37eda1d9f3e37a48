//! Behaviour specific to ActiveMQ.

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

/// A NACK moves the message at once to the queue's own dead-letter queue, whatever `requeue` says.
/// The message keeps its id, which contains colons.
#[tokio::test]
async fn a_nack_dead_letters_the_message() {
    let Some(broker) = TestBroker::activemq(Version::V1_2) else {
        return;
    };
    let client = broker.connect().await;
    let queue = broker.queue();
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
            "not in the dead-letter queue"
        );
        if delivery.header("original-destination") == Some(&queue.destination) {
            assert_eq!(delivery.message_id, given_up.message_id);
            break;
        }
    }
}

/// The ERROR names the receipt of its frame, and the connection stays open.
#[tokio::test]
async fn an_error_names_its_receipt() {
    let Some(broker) = TestBroker::activemq(Version::V1_2) else {
        return;
    };
    let client = broker.connect().await;
    let queue = broker.queue();
    let mut subscription = queue.subscribe(&client).await.unwrap();
    within(client.send(queue.message(b"1"))).await.unwrap();
    let delivery = next(&mut subscription).await;
    within(client.ack(&delivery)).await.unwrap();
    let error = within(client.ack(&delivery)).await.unwrap_err();
    assert!(error.names_receipt(), "{error}");
    assert!(error.to_string().len() < 1500, "no stack trace: {error}");
    within(client.ping()).await.unwrap();
}

/// A durable subscription is identified by the client id and its own name; UNSUBSCRIBE keeps it.
#[tokio::test]
async fn a_durable_subscription_collects_while_nobody_is_connected() {
    let Some(broker) = TestBroker::activemq(Version::V1_2) else {
        return;
    };
    let (name, sender) = (name(), broker.connect().await);
    let topic = format!("/topic/{name}");
    let options = broker.options().client_id(&name);
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

/// A second connection with the same client id is refused until the first has ended.
#[tokio::test]
async fn a_client_id_is_used_by_one_connection() {
    let Some(broker) = TestBroker::activemq(Version::V1_2) else {
        return;
    };
    let options = broker.options().client_id(&name());
    let first = within(Client::connect(&options)).await.unwrap();
    let error = within(Client::connect(&options)).await.unwrap_err();
    let kind = error.error_frame().unwrap().kind();
    assert_eq!(kind, ErrorKind::ClientIdInUse, "{error}");
    assert!(!error.is_refused_login(), "it is retried");
    assert!(error.to_string().contains("virtual topic"), "{error}");
    within(first.disconnect()).await.unwrap();
    within(Client::connect(&options)).await.unwrap();
}

/// Consumers of one topic each read from their own queue, which a virtual topic fills.
#[tokio::test]
async fn a_virtual_topic_fills_queues() {
    let Some(broker) = TestBroker::activemq(Version::V1_2) else {
        return;
    };
    let (name, client) = (name(), broker.connect().await);
    let queue = format!("/queue/Consumer.billing.VirtualTopic.{name}");
    let mut subscription = subscribe(&client, &queue, &[]).await;
    let topic = format!("/topic/VirtualTopic.{name}");
    within(client.send(message(&topic, b"1"))).await.unwrap();
    let delivery = next(&mut subscription).await;
    within(client.ack(&delivery)).await.unwrap();
}
