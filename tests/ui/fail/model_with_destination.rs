use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(model = Order, destination = "/topic/orders")]
struct NewOrder {
    total: i64,
}

#[derive(Publish)]
#[publish(model = Order)]
#[publish(destination = "/topic/orders", version = "v1")]
#[publish(save = false)]
struct Apart {
    total: i64,
}

fn main() {}
