use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(fields(total), version = "v1")]
struct Order {
    id: i32,
    total: i64,
}

#[derive(Publish)]
#[publish(save = false)]
struct OnlySettings {
    id: i32,
}

#[derive(Publish)]
#[publish()]
struct Empty {
    id: i32,
}

fn main() {}
