//! Logins by password, and TLS, on MySQL and MariaDB, with the client library of either.

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_outbox::backend::Address;
use diesel_outbox::config::Secret;
use uuid::Uuid;

use crate::connect;
use crate::support::{self, TestDatabase};

const PASSWORD: &str = "not-secret";

/// What MySQL's client library says if `caching_sha2_password` needs the whole password.
const NEEDS_TLS: &str = "Authentication requires secure connection";

#[derive(QueryableByName)]
struct Variable {
    #[diesel(sql_type = Text, column_name = "Value")]
    value: String,
}

/// What an address leads to.
#[derive(Debug, PartialEq)]
enum Outcome {
    Encrypted,
    ClearText,
    Refused(String),
}

use Outcome::{ClearText, Encrypted, Refused};

impl Outcome {
    fn of(url: &str) -> Self {
        let mut conn = match MysqlConnection::establish(url) {
            Ok(conn) => conn,
            Err(error) => return Refused(error.to_string()),
        };
        if value(&mut conn, "session status like 'Ssl_cipher'").is_empty() {
            ClearText
        } else {
            Encrypted
        }
    }
}

/// A variable of the server or the session.
fn value(conn: &mut MysqlConnection, which: &str) -> String {
    let found: Option<Variable> = diesel::sql_query(format!("show {which}"))
        .get_result(conn)
        .optional()
        .unwrap();
    found.map(|found| found.value).unwrap_or_default()
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

    /// Whether the server has TLS. MySQL has always some: it generates certificates if it has none.
    fn server_has_tls(&self) -> bool {
        let mut admin = MysqlConnection::establish(&self.database.url).unwrap();
        !self.server_is_mariadb() || value(&mut admin, "variables like 'have_ssl'") == "YES"
    }

    fn server_is_mariadb(&self) -> bool {
        let mut admin = MysqlConnection::establish(&self.database.url).unwrap();
        value(&mut admin, "variables like 'version'").contains("MariaDB")
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

/// The files of the tests' authority, of another one, and of a client's certificate.
fn certificates() -> Option<String> {
    support::server("OUTBOX_TEST_CERTIFICATES", "certificates")
}

/// The authority of the server's certificate. A server of the machine's own has none, or one of its own.
fn own_authority() -> Option<String> {
    std::env::var("OUTBOX_TEST_MYSQL_CA").ok()
}

fn assert_outcome(url: &str, expected: &Outcome) {
    match (Outcome::of(url), expected) {
        (Refused(error), Refused(words)) => assert!(error.contains(words), "{url}: {error}"),
        (outcome, expected) => assert_eq!(outcome, *expected, "{url}"),
    }
}

fn refused(words: &str) -> Outcome {
    Refused(words.to_owned())
}

/// The first login is by the whole password, which MariaDB's client library sends without TLS by the server's RSA
/// key, and MySQL's refuses to send. The second is by what the server remembers.
#[test]
fn a_password_is_accepted_without_tls() {
    let Some(user) = User::new() else { return };
    let in_clear_text = |password| format!("{}?ssl_mode=disabled", user.url(password));
    let needs_tls = support::has_mysqls_client_library() && !user.server_is_mariadb();
    if needs_tls {
        assert_outcome(&in_clear_text(PASSWORD), &refused(NEEDS_TLS));
        assert_outcome(&user.url(PASSWORD), &Encrypted);
    }
    for _ in 0..2 {
        assert_outcome(&in_clear_text(PASSWORD), &ClearText);
        connect::<MysqlConnection>(&in_clear_text(PASSWORD));
    }
    let denied = "Access denied for user";
    let wrong = if needs_tls { NEEDS_TLS } else { denied };
    assert_outcome(&in_clear_text("wrong"), &refused(wrong));
    assert_outcome(&user.url("wrong"), &refused(denied));
}

/// `ssl_ca` turns TLS on, and the server's certificate has to come from that authority. If the server has no TLS,
/// MariaDB's client library connects without it, and our programs refuse the connection; MySQL's connects neither, with
/// the address that our programs use.
#[test]
fn an_authority_is_required_of_the_server() {
    let Some(user) = User::new() else { return };
    let Some(certificates) = certificates() else {
        return;
    };
    let of_programs = |authority: &str| {
        let url = format!("{}?ssl_ca={authority}", user.url(PASSWORD));
        let address = Address::parse(&Secret::new(url)).unwrap();
        address.connection_string().expose().to_owned()
    };
    let other = of_programs(&format!("{certificates}/other-ca.pem"));
    match (user.server_has_tls(), support::has_mysqls_client_library()) {
        (false, false) => assert_outcome(&other, &ClearText),
        (false, true) => assert_outcome(&other, &refused("SSL is required")),
        (true, _) => assert_outcome(&other, &refused("certificate")),
    }

    let Some(own) = own_authority() else { return };
    // The first one is by the whole password: the user is new.
    for _ in 0..2 {
        assert_outcome(&of_programs(&own), &Encrypted);
    }
}

/// With MySQL's client library each mode does what its manual says; without a mode it is `preferred`. The server's
/// certificate is verified in each mode with TLS if there is an `ssl_ca`. MariaDB's library ignores the mode: TLS
/// depends on `ssl_ca` alone.
#[test]
fn the_mode_is_that_of_the_client_library() {
    let Some(user) = User::new() else { return };
    let Some(certificates) = certificates() else {
        return;
    };
    // So that the server remembers the password.
    assert!(!matches!(Outcome::of(&user.url(PASSWORD)), Refused(_)));
    let other = format!("{certificates}/other-ca.pem");
    let has_tls = user.server_has_tls();
    let modes = [
        "disabled",
        "preferred",
        "required",
        "verify_ca",
        "verify_identity",
    ];
    let authorities = [None, own_authority(), Some(other.clone())];
    for mode in modes.map(Some).into_iter().chain([None]) {
        for authority in &authorities {
            let mode_parameter = mode.map(|mode| format!("ssl_mode={mode}"));
            let ca_parameter = authority.as_ref().map(|file| format!("ssl_ca={file}"));
            let parameters: Vec<String> = [mode_parameter, ca_parameter]
                .into_iter()
                .flatten()
                .collect();
            let url = format!("{}?{}", user.url(PASSWORD), parameters.join("&"));
            let is_other = authority.as_ref() == Some(&other);
            let expected = if support::has_mysqls_client_library() {
                match (mode, authority) {
                    (Some("disabled"), _) => ClearText,
                    (None | Some("preferred"), _) if !has_tls => ClearText,
                    _ if !has_tls => refused("SSL is required but the server doesn't support it"),
                    _ if is_other => refused("certificate verify failed"),
                    (Some("verify_ca" | "verify_identity"), None) => {
                        refused("CA certificate is required")
                    }
                    _ => Encrypted,
                }
            } else {
                match authority {
                    Some(_) if has_tls && is_other => refused("certificate"),
                    Some(_) if has_tls => Encrypted,
                    _ => ClearText,
                }
            };
            assert_outcome(&url, &expected);
        }
    }
}

/// The tests' certificate has the names `localhost` and `127.0.0.1`, and not the short spelling of the latter. With
/// MySQL's client library the mode decides; MariaDB's compares the name from version 3.4 on, and never before.
#[test]
fn the_name_is_compared_as_the_client_library_does() {
    let Some(user) = User::new() else { return };
    let Some(own) = own_authority() else { return };
    let url = user.url(PASSWORD).replace("@127.0.0.1:", "@127.1:");
    assert!(url.contains("@127.1:"), "{url}");
    let of_mode = |mode| format!("{url}?ssl_mode={mode}&ssl_ca={own}");
    if support::has_mysqls_client_library() {
        assert_outcome(&of_mode("verify_ca"), &Encrypted);
        assert_outcome(
            &of_mode("verify_identity"),
            &refused("certificate verify failed"),
        );
        return;
    }
    let found = Outcome::of(&of_mode("verify_ca"));
    assert_eq!(found, Outcome::of(&of_mode("verify_identity")));
    if found != Encrypted {
        assert_outcome(&of_mode("verify_ca"), &refused("Hostname verification"));
    }
}

/// `REQUIRE X509` asks for a certificate of the client, with either library.
#[test]
fn a_client_has_a_certificate() {
    let Some(user) = User::new() else { return };
    let (Some(own), Some(certificates)) = (own_authority(), certificates()) else {
        return;
    };
    user.run_as_admin(&format!("alter user '{}'@'%' require x509", user.name));
    let url = format!("{}?ssl_mode=verify_ca&ssl_ca={own}", user.url(PASSWORD));
    assert_outcome(&url, &refused("Access denied for user"));
    let url = format!("{url}&ssl_cert={certificates}/client.pem&ssl_key={certificates}/client.key");
    assert_outcome(&url, &Encrypted);
}
