use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(destination = "/topic/orders", expires_in = "soon")]
#[publish(destination = "/topic/orders", expires_in = "0s")]
#[publish(destination = "/topic/orders", expires_in = 15)]
#[publish(destination = "/topic/orders", stream = "")]
#[publish(destination = "/topic/orders", headers = "x: y")]
struct Order {
    id: i32,
}

fn main() {}
