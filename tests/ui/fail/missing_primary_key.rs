use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(destination = "/topic/orders")]
struct Order {
    customer: String,
    total: i64,
}

#[derive(Publish)]
#[diesel(primary_key(order_id, line))]
#[publish(destination = "/topic/lines")]
struct Line {
    order_id: i32,
    amount: i64,
}

#[derive(Publish)]
#[publish(destination = "/topic/orders")]
struct NewOrder<'a> {
    customer: &'a str,
}

fn main() {}
