use diesel_outbox::Publish;

#[derive(Publish)]
struct Order {
    id: i32,
    total: i64,
}

#[derive(Publish)]
#[publish]
struct Bare {
    id: i32,
}

fn main() {}
