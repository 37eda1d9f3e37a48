//! What the derive accepts, and how it says what it does not.

#[test]
fn mistakes_are_shown_where_they_are() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}

/// The models of the documentation, on SQLite; the other backends' code is the same.
#[cfg(feature = "sqlite")]
#[test]
fn models_compile() {
    trybuild::TestCases::new().pass("tests/ui/pass/*.rs");
}

/// What only a database without RETURNING cannot do.
#[cfg(feature = "mysql")]
#[test]
fn what_mysql_lacks_is_said() {
    trybuild::TestCases::new().compile_fail("tests/ui/mysql/*.rs");
}
