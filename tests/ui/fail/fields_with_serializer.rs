use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(destination = "/topic/orders", fields(total), serializer = Order::audit)]
struct Order {
    id: i32,
    total: i64,
}

impl Order {
    fn audit(&self) -> i64 {
        self.total
    }
}

fn main() {}
