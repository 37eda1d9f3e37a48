use diesel_outbox::Publish;

#[derive(Publish)]
#[diesel(primary_key(code))]
#[publish(destination = "/topic/orders")]
struct Order {
    code: String,
    id: i32,
}

fn main() {}
