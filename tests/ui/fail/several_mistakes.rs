use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(destination = "", fields(totl), key = nobody)]
#[publish(version = "v1", colour = "red")]
#[publish(destination = "/topic/orders", fields(), serializer = Order::audit)]
struct Order {
    customer: String,
    total: i64,
}

fn main() {}
