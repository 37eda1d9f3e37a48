//! What a broker refuses, and how each says so.

use url::Url;

use super::*;

/// The broker's URL with a change.
fn changed(place: &Place, change: impl FnOnce(&mut Url)) -> Options {
    let mut url = Url::parse(&place.url).unwrap();
    change(&mut url);
    place.options_at(url.as_str())
}

/// RabbitMQ's ERROR has "Bad CONNECT"; a password with a backslash and a colon is read as it is
/// meant, or there would be no answer at all. The ActiveMQ without TLS lets everybody in.
pub(crate) async fn a_wrong_password(place: &Place) {
    if !place.has_users {
        let options = changed(place, |url| {
            url.set_username("anybody").unwrap();
            url.set_password(Some("wr%5Cong")).unwrap();
        });
        within(Client::connect(&options)).await.unwrap();
        return;
    }
    for password in ["wrong", "wr:o%5Cng", "wr%5Ccong"] {
        let options = changed(place, |url| url.set_password(Some(password)).unwrap());
        let error = within(Client::connect(&options)).await.unwrap_err();
        assert!(error.is_refused_login() && error.is_final(), "{error}");
        assert_eq!(error.error_frame().unwrap().kind(), ErrorKind::RefusedLogin);
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains("guest") && !shown.contains("ong"),
            "{shown}"
        );
    }
}

/// ActiveMQ has none.
pub(crate) async fn a_wrong_virtual_host(place: &Place) {
    let options = changed(place, |url| {
        url.set_path(&format!("/{}", uuid::Uuid::new_v4()))
    });
    let client = within(Client::connect(&options)).await;
    if place.broker == Broker::ActiveMq {
        client.unwrap();
        return;
    }
    let error = client.unwrap_err();
    assert!(error.is_refused_login(), "{error}");
    let kind = error.error_frame().unwrap().kind();
    assert_eq!(kind, ErrorKind::RefusedVirtualHost, "{error}");
}

/// On RabbitMQ ERROR without receipt-id, for SEND as for SUBSCRIBE, and the connection stays open:
/// receipts of the frames around it come, then the client closes it. ActiveMQ names the receipt, and
/// refuses what the user may not do; else it takes any text for the name of a queue.
pub(crate) async fn a_wrong_destination(place: &Place) {
    let client = place.connect().await;
    let queue = place.queue();
    let before = client.send(queue.message(b"1"));
    let bad = client.send(SendFrame {
        destination: match place.broker {
            Broker::ActiveMq => "/queue/forbidden.x".to_owned(),
            _ => "/nonsense/x".to_owned(),
        },
        ..queue.message(b"2")
    });
    let after = client.send(queue.message(b"3"));
    within(before).await.unwrap();
    within(after).await.unwrap();
    if !place.has_users {
        within(bad).await.unwrap();
        return;
    }
    let error = within(bad).await.unwrap_err();
    let frame = error.error_frame().unwrap();
    assert_eq!(frame.kind(), ErrorKind::RefusedDestination, "{error}");
    if place.broker == Broker::ActiveMq {
        assert!(error.names_receipt() && frame.receipt_id.is_some());
        assert!(!error.to_string().contains("guest"), "{error}");
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
    assert!(error.is_fate_unknown() && !error.names_receipt());
}
