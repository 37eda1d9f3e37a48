//! How the derive says what it does not accept; what it accepts is in `derive_expand`.

#[test]
fn mistakes_are_shown_where_they_are() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}

/// What only a database without RETURNING cannot do.
#[cfg(feature = "mysql")]
#[test]
fn what_mysql_lacks_is_said() {
    trybuild::TestCases::new().compile_fail("tests/ui/mysql/*.rs");
}
