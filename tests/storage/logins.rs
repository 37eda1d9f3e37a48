//! Logins by password, and TLS, on MySQL and MariaDB.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use uuid::Uuid;

use crate::connect;
use crate::support::{self, TestDatabase};

const PASSWORD: &str = "not-secret";

#[derive(QueryableByName)]
struct Variable {
    #[diesel(sql_type = Text, column_name = "Value")]
    value: String,
}

/// A user with a password, whose method is the server's default: `caching_sha2_password` on MySQL. It is deleted at
/// the end.
struct User {
    name: String,
    database: TestDatabase,
}

impl User {
    fn new() -> Option<Self> {
        let database = support::mysql::<MysqlConnection>()?;
        let name = format!("outbox_{}", &Uuid::new_v4().simple().to_string()[..12]);
        let (_, schema) = database.url.rsplit_once('/').unwrap();
        let mut admin = MysqlConnection::establish(&database.url).unwrap();
        admin
            .batch_execute(&format!(
                "create user '{name}'@'%' identified by '{PASSWORD}'; grant all on `{schema}`.* to '{name}'@'%'"
            ))
            .unwrap();
        Some(Self { name, database })
    }

    fn url(&self, password: &str) -> String {
        let (_, place) = self.database.url.rsplit_once('@').unwrap();
        format!("mysql://{}:{password}@{place}", self.name)
    }

    fn run_as_admin(&self, statement: &str) {
        let mut admin = MysqlConnection::establish(&self.database.url).unwrap();
        admin.batch_execute(statement).unwrap();
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.run_as_admin(&format!("drop user '{}'@'%'", self.name));
    }
}

/// The cipher of a connection with TLS; empty without it.
fn cipher(conn: &mut MysqlConnection) -> String {
    let cipher: Variable = diesel::sql_query("show session status like 'Ssl_cipher'")
        .get_result(conn)
        .unwrap();
    cipher.value
}

/// The first login is by the whole password, which MySQL takes without TLS by its RSA key; the second is by what the
/// server remembers.
#[test]
fn a_password_is_accepted_without_tls() {
    let Some(user) = User::new() else { return };
    for _ in 0..2 {
        connect::<MysqlConnection>(&user.url(PASSWORD));
    }
    let wrong = MysqlConnection::establish(&user.url("wrong"));
    let error = wrong.err().unwrap().to_string();
    assert!(error.contains("Access denied for user"), "{error}");
}

/// `ssl_ca` turns TLS on, and the server's certificate has to come from that authority. If the server has no TLS,
/// MariaDB's client library connects without it, and our programs refuse the connection.
#[test]
fn an_authority_is_required_of_the_server() {
    let Some(user) = User::new() else { return };
    let certificates = support::server("OUTBOX_TEST_CERTIFICATES", "certificates");
    let Some(certificates) = certificates else {
        return;
    };
    let url = user.url(PASSWORD);
    let other = format!("{url}?ssl_ca={certificates}/ca.pem");
    match MysqlConnection::establish(&other) {
        Ok(mut conn) => assert_eq!(cipher(&mut conn), ""),
        Err(error) => assert!(!error.to_string().contains("Access denied"), "{error}"),
    }

    // Only the MySQL of the tests has an authority of its own.
    let Ok(own) = std::env::var("OUTBOX_TEST_MYSQL_CA") else {
        return;
    };
    let refused = MysqlConnection::establish(&other).err();
    assert!(refused.is_some(), "the wrong authority is refused");
    user.run_as_admin("flush privileges");
    for _ in 0..2 {
        let mut conn = connect::<MysqlConnection>(&format!("{url}?ssl_ca={own}"));
        assert_ne!(cipher(&mut conn), "");
    }
}
