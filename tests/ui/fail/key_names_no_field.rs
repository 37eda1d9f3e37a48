use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(destination = "/topic/orders", key = customr)]
struct Order {
    id: i32,
    customer: String,
}

fn main() {}
