use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(destination = "/topic/orders", fields())]
struct Order {
    id: i32,
    total: i64,
}

fn main() {}
