use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(destinaton = "/topic/orders")]
#[publish(destination = "/topic/orders", colour = "red")]
struct Order {
    id: i32,
    total: i64,
}

fn main() {}
