use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(destination = "/topic/orders")]
struct Order {
    id: i32,
    #[diesel(embed)]
    address: Address,
}

struct Address {
    street: String,
}

fn main() {}
