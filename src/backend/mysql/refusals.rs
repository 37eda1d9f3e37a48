//! The texts with which MySQL and MariaDB refuse a connection permanently.
//!
//! The server writes them in its own language (`lc_messages`), because it reads the language that
//! the client asks for only after the login. Diesel has no code for a failed connection, only a
//! text. These are the texts of MariaDB 10.11 and 11.8 and of MySQL 9.7 in each of their languages, in lower case, with
//! quoted values removed.

/// Of MySQL's client library (`client_authentication.cc`, `client.cc`), always in English: a password's first login with
/// `caching_sha2_password` without TLS.
pub(super) const NEEDS_ENCRYPTION: &str = "authentication requires secure connection";

/// Of the same library: `ssl_mode` is `required` or more, and the server has no TLS.
pub(super) const HAS_NO_TLS: &str = "ssl is required but the server doesn't support it";

/// Of the same library: `ssl_mode` is `verify_ca` or `verify_identity`, without `ssl_ca`.
pub(super) const NEEDS_AUTHORITY: &str = "ca certificate is required if ssl-mode is ";

/// A password that has expired, if the server says so in English.
pub(super) const EXPIRED: [&str; 3] = [
    "your password has expired",
    // MariaDB, and MySQL without `disconnect_on_expired_password`, accept the login and then nothing but a new password.
    "you must set password",
    "you must reset your password",
];

/// Not translated.
pub(super) const PROHIBITS_CLEAR_TEXT: &str = "--require_secure_transport=on";

/// 1044, 1045, 1049, 1130, 1251, 1524, 1698, 1820, 1862, 3118, 3159, 3955, 4151.
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
    "访问拒绝，此帐户已锁定",
    "ufikiaji umekataliwa, akaunti hii imefungwa",
    // A password that has expired: the login is refused, or each statement after it. The latter text names SET PASSWORD
    // in nearly each language.
    EXPIRED[0],
    "паролата ви е изтекла",
    "您的密码已过期",
    "parola ta a expirat",
    "su contraseña ha expirado",
    "nenosiri lako limeisha muda",
    "set password",
    EXPIRED[2],
    "您必须在执行此语句之前设置密码",
    // Clear text, where only TLS is allowed.
    PROHIBITS_CLEAR_TEXT,
    // A user whose method the server does not have.
    "plugin '' is not loaded",
    "plugin '' ist nicht geladen",
    "插件''未加载",
    "დამატება '' ჩატვირთული არაა",
    "enchufe (plugin) '' no cargado",
    "programu-jalizi '' haijapakiwa",
    // A user whose method the client library does not have.
    "client does not support authentication protocol",
    "客户端不支持服务器请求的身份验证协议",
    "client ondersteunt het door de server verwachtte authenticatieprotocol niet",
    "კლიენტს სერვერის მიერ მოთხოვნილი ავთენტიკაციის პროტოკოლის მხარდაჭერა არ გააჩნია",
    "client unterstützt das vom server erwartete authentifizierungsprotokoll nicht",
    "クライアントはサーバーが要求する認証プロトコルに対応できません",
    "cliente não suporta o protocolo de autenticação",
    "cliente no soporta protocolo de autenticación",
    "mteja haungi mkono itifaki ya uthibitishaji",
    "klienten stöder inte autentiseringsprotokollet",
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
    "hifadhidata isiyojulikana ''",
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
    "mpangishi '' hairuhusiwi kuunganishwa kwenye seva hii ",
    "denna dator, '', har inte privileger att använda denna ",
    "хосту '' не доволено зв'язуватись з цим сервером ",
];
