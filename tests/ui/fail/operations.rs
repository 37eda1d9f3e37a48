use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(destination = "/topic/orders", on = insert | upsert)]
#[publish(destination = "/topic/orders", on = update | update)]
#[publish(destination = "/topic/orders", on)]
#[publish(destination = "/topic/orders", operation_header = "")]
struct Order {
    id: i32,
}

fn main() {}
