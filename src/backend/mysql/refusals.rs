//! The texts with which MySQL and MariaDB refuse a connection permanently.
//!
//! The server writes them in its own language (`lc_messages`), because it reads the language that
//! the client asks for only after the login. Diesel has no code for a failed connection, only a
//! text. These are the texts of MariaDB 10.11 and MySQL 9.7 in each of their languages, in lower case, with quoted
//! values removed. Those of MySQL's Spanish differ, and no others do.

/// Of MySQL's client library (`client_authentication.cc`, `client.cc`), always in English: a password's first login with
/// `caching_sha2_password` without TLS.
pub(super) const NEEDS_ENCRYPTION: &str = "authentication requires secure connection";

/// Of the same library: `ssl_mode` is `required` or more, and the server has no TLS.
pub(super) const HAS_NO_TLS: &str = "ssl is required but the server doesn't support it";

/// Of the same library: `ssl_mode` is `verify_ca` or `verify_identity`, without `ssl_ca`.
pub(super) const NEEDS_AUTHORITY: &str = "ca certificate is required if ssl-mode is ";

/// 1044, 1045, 1049, 1130, 1698, 4151.
pub(super) const REFUSALS: &[&str] = &[
    // Each language names the user and the host that may not log in, or not to this database; no
    // other error text does.
    "''@''",
    "access denied",
    // Our own: see `Dialect::why_unusable`.
    "the connection is not encrypted",
    NEEDS_ENCRYPTION,
    HAS_NO_TLS,
    NEEDS_AUTHORITY,
    "acces refuzat, acest cont este blocat",
    "acceso denegado, esta cuenta está bloqueada",
    // A database that does not exist.
    "unknown database ''",
    "未知数据库''",
    "neznámá databáze ''",
    "ukendt database ''",
    "onbekende database ''",
    "tundmatu andmebaas ''",
    "base '' inconnue",
    "უცნობი მონაცემთა ბაზა ''",
    "unbekannte datenbank ''",
    "αγνωστη βάση δεδομένων ''",
    "अज्ञात डाटाबेस ''",
    "ervenytelen adatbazis: ''",
    "database '' sconosciuto",
    "'' は不明なデータベースです",
    "데이타베이스 ''는 알수 없음",
    "ukjent database ''",
    "nieznana baza danych ''",
    "banco de dados '' desconhecido",
    "baza de data invalida ''",
    "неизвестная база данных ''",
    "nepoznata baza ''",
    "neznáma databáza ''",
    "base de datos '' desconocida",
    "base de datos desconocida ''",
    "okänd databas: ''",
    "невідома база данних ''",
    // A host from which no login is allowed.
    "host '' is not allowed to connect to this ",
    "不允许连接到此",
    "stroj '' nemá povoleno se k tomuto ",
    "værten '' kan ikke tilkoble denne ",
    "host '' is niet toegestaan verbinding te maken met deze ",
    "masinal '' puudub ligipääs sellele ",
    "hôte '' n'est pas authorisé à se connecter à ce serveur ",
    "ჰოსტს '' ",
    "host '' hat keine berechtigung, sich mit diesem ",
    "ο υπολογιστής '' δεν έχει δικαίωμα σύνδεσης με τον ",
    "होस्ट '' को इस ",
    "a '' host szamara nem engedelyezett a kapcsolodas ehhez a ",
    "al sistema '' non e` consentita la connessione a questo server ",
    "ホスト '' からのこの ",
    "'' 호스트는 이 ",
    "'' não tem permissão para se conectar com este servidor ",
    "host-ul '' nu este permis a se conecta la aceste server ",
    "хосту '' не разрешается подключаться к этому серверу ",
    "host-u '' nije dozvoljeno da se konektuje na ovaj ",
    "el equipo '' no está autorizado a conectar con este servidor ",
    "servidor '' no está permitido para conectar con este servidor ",
    "denna dator, '', har inte privileger att använda denna ",
    "хосту '' не доволено зв'язуватись з цим сервером ",
];
