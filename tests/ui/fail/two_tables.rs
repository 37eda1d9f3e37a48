use diesel_outbox::Publish;

#[derive(Publish)]
#[diesel(table_name = orders)]
#[diesel(table_name = old_orders)]
#[publish(model = Order)]
struct NewOrder {
    total: i64,
}

fn main() {}
