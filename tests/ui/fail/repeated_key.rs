use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(destination = "/topic/orders", destination = "/topic/orders.audit")]
#[publish(save = false)]
#[publish(save = true)]
struct Order {
    id: i32,
    total: i64,
}

fn main() {}
