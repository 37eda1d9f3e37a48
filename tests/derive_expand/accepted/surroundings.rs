//! A module that has other things under the names that the expansion needs.
#![allow(non_upper_case_globals, unused_imports, unused_macros)]

mod renamed {
    pub use ::diesel_outbox as outbox;
}

mod model {
    use crate::accepted::surroundings::renamed::outbox::Publish;

    ::diesel::table! {
        orders {
            id -> Integer,
            total -> Nullable<BigInt>,
        }
    }

    type Result = ();
    struct Vec;
    struct String;
    enum Option {
        Some,
        None,
        Ok,
    }
    use Option::{None, Ok, Some};

    const conn: () = ();

    trait RunQueryDsl {
        fn execute(&self) {}
        fn get_result(&self) {}
    }
    impl<T> RunQueryDsl for T {}

    macro_rules! vec {
        () => {
            compile_error!("not this one")
        };
    }

    /// Written by a macro, which gives some of the names itself.
    macro_rules! model {
        ($name:ident, $field:ident) => {
            #[derive(::diesel::Queryable, ::diesel::Selectable, Publish)]
            #[diesel(table_name = orders)]
            #[publish(crate = crate::accepted::surroundings::renamed::outbox)]
            #[publish(destination = "/queue/orders", fields($field), key = $field)]
            #[publish(destination = "/queue/all", key = id)]
            pub struct $name {
                id: i32,
                $field: ::core::option::Option<i64>,
            }
        };
    }

    model!(Order, total);

    #[derive(::diesel::Insertable, Publish)]
    #[diesel(table_name = orders)]
    #[publish(crate = crate::accepted::surroundings::renamed::outbox, model = Order)]
    pub struct NewOrder {
        total: ::core::option::Option<i64>,
    }
}
