use diesel::prelude::*;
use diesel_outbox::Publish;

diesel::table! {
    places (code) {
        code -> Text,
        name -> Text,
    }
}

#[derive(Queryable, Selectable, Publish)]
#[diesel(table_name = places, primary_key(code), check_for_backend(diesel::mysql::Mysql))]
#[publish(destination = "/topic/places")]
struct Place {
    code: String,
    name: String,
}

#[derive(Insertable, Publish)]
#[diesel(table_name = places, check_for_backend(diesel::mysql::Mysql))]
#[publish(model = Place)]
struct NewPlace<'a> {
    name: &'a str,
}

fn main() {}
