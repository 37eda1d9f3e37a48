use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(destination = "/topic/orders", fields(custmer, total, weather))]
struct Order {
    id: i32,
    customer: String,
    total: i64,
}

fn main() {}
