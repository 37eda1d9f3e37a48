//! What brokers refuse, and how.

use url::Url;

use super::*;

/// The broker's options with a changed URL.
fn changed(broker: &TestBroker, change: impl FnOnce(&mut Url)) -> Options {
    let mut url = Url::parse(&broker.url).unwrap();
    change(&mut url);
    broker.options_at(url.as_str())
}

/// The error of a refused login. ActiveMQ closes the connection after its ERROR without waiting for the socket, so
/// that the ERROR may be lost: it is tried up to five times.
async fn refusal(options: &Options) -> Error {
    let mut tries = 1;
    loop {
        let error = within(Client::connect(options)).await.unwrap_err();
        if error.error_frame().is_some() || tries == 5 {
            return error;
        }
        tries += 1;
    }
}

/// RabbitMQ's ERROR contains "Bad CONNECT". The password contains a backslash and a colon; RabbitMQ
/// sends no ERROR if they are escaped incorrectly. The ActiveMQ without TLS accepts every login.
pub(crate) async fn a_wrong_password(broker: &TestBroker) {
    if !broker.has_users {
        let options = changed(broker, |url| {
            url.set_username("anybody").unwrap();
            url.set_password(Some("wr%5Cong")).unwrap();
        });
        within(Client::connect(&options)).await.unwrap();
        return;
    }
    for password in ["wrong", "wr:o%5Cng", "wr%5Ccong"] {
        let options = changed(broker, |url| url.set_password(Some(password)).unwrap());
        let error = refusal(&options).await;
        assert!(error.is_refused_login() && error.is_final(), "{error}");
        assert_eq!(error.error_frame().unwrap().kind(), ErrorKind::RefusedLogin);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("ong"), "{shown}");
    }
}

/// ActiveMQ has no virtual hosts.
pub(crate) async fn a_wrong_virtual_host(broker: &TestBroker) {
    let options = changed(broker, |url| {
        url.set_path(&format!("/{}", uuid::Uuid::new_v4()))
    });
    let client = within(Client::connect(&options)).await;
    if broker.broker == Broker::ActiveMq {
        client.unwrap();
        return;
    }
    let error = client.unwrap_err();
    assert!(error.is_refused_login(), "{error}");
    let kind = error.error_frame().unwrap().kind();
    assert_eq!(kind, ErrorKind::RefusedVirtualHost, "{error}");
}

/// RabbitMQ sends ERROR without receipt-id, for SEND and for SUBSCRIBE, and leaves the connection
/// open: receipts of other frames arrive, then the client closes it. ActiveMQ names the receipt and
/// refuses what the user may not do; otherwise it takes any text as a queue's name.
pub(crate) async fn a_wrong_destination(broker: &TestBroker) {
    let client = broker.connect().await;
    let queue = broker.queue();
    let before = client.send(queue.message(b"1"));
    let bad = client.send(SendFrame {
        destination: match broker.broker {
            Broker::ActiveMq => "/queue/forbidden.x".to_owned(),
            _ => "/nonsense/x".to_owned(),
        },
        ..queue.message(b"2")
    });
    let after = client.send(queue.message(b"3"));
    within(before).await.unwrap();
    within(after).await.unwrap();
    if !broker.has_users {
        within(bad).await.unwrap();
        return;
    }
    let error = within(bad).await.unwrap_err();
    let frame = error.error_frame().unwrap();
    assert_eq!(frame.kind(), ErrorKind::RefusedDestination, "{error}");
    if broker.broker == Broker::ActiveMq {
        assert!(error.names_receipt() && frame.receipt_id.is_some());
        let subscribe = Subscribe {
            destination: "/queue/forbidden.x".to_owned(),
            headers: Vec::new(),
        };
        let error = within(client.subscribe(subscribe)).await.unwrap_err();
        let kind = error.error_frame().unwrap().kind();
        assert_eq!(kind, ErrorKind::RefusedDestination, "{error}");
        within(client.ping()).await.unwrap();
        return;
    }
    assert_eq!(frame.receipt_id, None);
    assert!(error.is_outcome_unknown() && !error.names_receipt());
}
