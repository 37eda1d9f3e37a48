use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(destination = "")]
#[publish(destination = "/topic/orders", version = "")]
struct Order {
    id: i32,
    total: i64,
}

fn main() {}
