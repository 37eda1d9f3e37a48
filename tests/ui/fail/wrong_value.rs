use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(destination = 5, fields("total"), serializer = "Order::audit", version = v1, save = no)]
#[publish(destination, fields = total)]
#[publish(destination = "/topic/orders" fields(total))]
struct Order {
    id: i32,
    total: i64,
}

fn main() {}
