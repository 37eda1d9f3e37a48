use diesel_outbox::Publish;

#[derive(Publish)]
#[publish(destination = "/topic/orders")]
enum Choice {
    One,
}

#[derive(Publish)]
#[publish(destination = "/topic/orders")]
union Bits {
    id: i32,
}

#[derive(Publish)]
#[publish(destination = "/topic/orders")]
struct Pair(i32, i64);

#[derive(Publish)]
#[publish(destination = "/topic/orders")]
struct Nothing;

fn main() {}
