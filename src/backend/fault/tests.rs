use super::*;

fn database(kind: DatabaseErrorKind, text: &str) -> DieselError {
    DieselError::DatabaseError(kind, Box::new(text.to_owned()))
}

fn unknown(text: &str) -> DieselError {
    database(DatabaseErrorKind::Unknown, text)
}

#[test]
#[cfg(feature = "postgres")]
fn the_cause_is_looked_for_below_the_error() {
    #[derive(Debug, thiserror::Error)]
    #[error("the callback failed")]
    struct Wrapped(#[source] DieselError);

    let lost = database(DatabaseErrorKind::ClosedConnection, "x");
    let unique = database(DatabaseErrorKind::UniqueViolation, "deadlock detected");
    let deadlock = Wrapped(unknown("deadlock detected"));
    assert!(is_infrastructure(&deadlock));
    assert_eq!(fault(&deadlock, None), Fault::Contention);
    assert_eq!(fault(&lost, None), Fault::Outage);
    assert!(is_infrastructure(&crate::Error::Database(lost)));
    assert!(!is_infrastructure(&Wrapped(unique)));
    assert!(!is_infrastructure(&Wrapped(DieselError::NotFound)));
    assert!(!is_infrastructure(&std::fmt::Error));
}

/// The table of docs/databases.md, as each server writes it.
#[test]
fn a_text_of_the_servers_own_is_known() {
    use Fault::{Contention, Outage, ReadOnly};

    let check = |texts: &[(&str, Fault)]| {
        for (text, expected) in texts {
            assert_eq!(fault(&unknown(text), None), *expected, "{text}");
        }
    };
    #[cfg(feature = "postgres")]
    check(&[
        ("deadlock detected", Contention),
        ("canceling statement due to lock timeout", Contention),
        (
            "canceling statement due to conflict with recovery",
            Contention,
        ),
        (
            "could not obtain lock on row in relation \"orders\"",
            Contention,
        ),
        ("could not obtain lock on relation \"orders\"", Contention),
        ("Verklemmung (Deadlock) entdeckt", Contention),
        (
            "storniere Anfrage wegen Zeitüberschreitung einer Sperre",
            Contention,
        ),
        ("interblocage (deadlock) détecté", Contention),
        ("обнаружена взаимоблокировка", Contention),
        ("發現死結", Contention),
        ("canceling statement due to statement timeout", Outage),
        (
            "storniere Anfrage wegen Zeitüberschreitung der Anfrage",
            Outage,
        ),
        ("canceling statement due to user request", Outage),
        (
            "terminating connection due to administrator command",
            Outage,
        ),
        (
            "terminating connection due to idle-in-transaction timeout",
            Outage,
        ),
        ("the database system is starting up", Outage),
        ("sorry, too many clients already", Outage),
        (
            "server closed the connection unexpectedly\n\tThis probably means…",
            Outage,
        ),
        (
            "could not extend file \"base/5/16384\": No space left on device",
            Outage,
        ),
        (
            "konnte Datei »base/5/16384« nicht erweitern: Auf dem Gerät…",
            Outage,
        ),
        (
            "n'a pas pu étendre le fichier « base/5/16384 » : Aucun espace…",
            Outage,
        ),
        (
            "ファイル\"base/5/16384\"を拡張できませんでした: デバイスに空き領域がありません",
            Outage,
        ),
        ("无法扩展文件 \"base/5/16384\": 设备上没有空间", Outage),
        (
            "リレーション\"orders\"の行ロックを取得できませんでした",
            Contention,
        ),
        (
            "could not read block 7 in file \"base/5/16384\": Input/output error",
            Outage,
        ),
        ("out of memory", Outage),
        ("cached plan must not change result type", Outage),
        ("out of shared memory", Outage),
        ("Shared Memory aufgebraucht", Outage),
        ("prepared statement \"s1\" does not exist", Outage),
        ("vorbereitete Anweisung »s1« existiert nicht", Outage),
    ]);
    #[cfg(feature = "mysql")]
    check(&[
        (
            "Record has changed since last read in table 'orders'; try restarting transaction",
            Contention,
        ),
        (
            "Deadlock found when trying to get lock; try restarting transaction",
            Contention,
        ),
        (
            "Lock wait timeout exceeded; try restarting transaction",
            Contention,
        ),
        ("Server has gone away", Outage),
        ("MySQL server has gone away", Outage),
        ("Lost connection to MySQL server during query", Outage),
        ("Lost connection to server during query", Outage),
        ("Can't connect to MySQL server on 'db' (111)", Outage),
        ("Too many connections", Outage),
        ("Connection was killed", Outage),
        (
            "Query execution was interrupted (max_statement_time exceeded)",
            Outage,
        ),
        (
            "Disk full (/tmp/#sql.MAI); waiting for someone to free some space...",
            Outage,
        ),
        ("The table 'orders' is full", Outage),
        (
            "Error writing file 'binlog' (errno: 28 \"No space left on device\")",
            Outage,
        ),
        (
            "Got error 28 \"No space left on device\" from storage engine InnoDB",
            Outage,
        ),
        (
            "The MariaDB server is running with the --read-only option so it cannot execute this statement",
            ReadOnly,
        ),
        (
            "The MySQL server is running with the --super-read-only option so it cannot execute this statement",
            ReadOnly,
        ),
        ("Running in read-only mode", ReadOnly),
    ]);
    #[cfg(feature = "sqlite")]
    check(&[
        ("database is locked", Contention),
        ("database table is locked: orders", Contention),
        ("database or disk is full", Outage),
        ("disk I/O error", Outage),
        ("unable to open database file", Outage),
        ("attempt to write a readonly database", ReadOnly),
    ]);
}

/// Each of these was taken for an outage and stopped a subscriber permanently.
#[test]
fn a_messages_own_words_are_not_the_servers() {
    for text in [
        "invalid input syntax for type integer: \"my dog has lost connection to his owner\"",
        "invalid input syntax for type integer: \"deadlock detected\"",
        "cannot execute the transfer",
        "the transfer cannot execute: deadlock detected",
        "deadlock detected by the customer",
        "ungültige Eingabesyntax für Typ integer: »Verklemmung (Deadlock) entdeckt«",
        "Incorrect integer value: 'server has gone away' for column `a`.`n` at row 1",
        "Data too long for column 'lost connection to' at row 1",
        "no such column: disk i/o error",
        "near \"database is locked\": syntax error",
        "my database is locked",
        "The MariaDB server is running with the --secure-file-priv option so it cannot execute this statement",
    ] {
        assert_eq!(fault(&unknown(text), None), Fault::Own, "{text}");
    }
}

#[test]
#[cfg(feature = "mysql")]
fn the_servers_number_comes_before_the_text() {
    let of = |number, text: &str| {
        let last = LastError {
            number,
            text: text.to_owned(),
        };
        fault(&unknown(text), Some(&last))
    };
    // As the server writes it with lc_messages = de_DE and pt_BR.
    let german = "Datensatz wurde seit dem letzten Zugriff auf Tabelle 't' geändert";
    assert_eq!(of(1020, german), Fault::Contention);
    let deadlock = "Deadlock encontrado em transação: tente novamente";
    assert_eq!(of(1213, deadlock), Fault::Contention);
    assert_eq!(of(1021, "Festplatte voll"), Fault::Outage);
    let option = "Der MariaDB-Server läuft mit der Option --read-only und kann diese…";
    assert_eq!(of(1290, option), Fault::ReadOnly);
    assert_eq!(of(1290, "… --secure-file-priv …"), Fault::Own);
    // SIGNAL with a text from the message.
    let signalled = "Deadlock found when trying to get lock";
    assert_eq!(of(1644, signalled), Fault::Own);
    // The number of another error is not used.
    let other = LastError {
        number: 1213,
        text: "x".to_owned(),
    };
    assert_eq!(fault(&unknown("y"), Some(&other)), Fault::Own);
}

#[test]
fn a_refused_connection_is_known_in_the_servers_language() {
    let check = |texts: &[&str]| {
        for text in texts {
            assert!(is_refusal(text), "{text}");
        }
    };
    #[cfg(feature = "postgres")]
    check(&[
        "connection to server at \"db\" (10.0.0.1), port 5432 failed: FATAL:  password \
         authentication failed for user \"app\"",
        "FATAL:  Passwort-Authentifizierung für Benutzer »app« fehlgeschlagen",
        "FATAL:  Zertifikatauthentifizierung für Benutzer »app« fehlgeschlagen",
        "FATAL:  kein pg_hba.conf-Eintrag für Host »::1«, Benutzer »app«, Datenbank »d«, keine \
         Verschlüsselung",
        "FATAL:  la base de données « d » n'existe pas",
        "FATAL:  la autentificación password falló para el usuario «app»",
        "FATAL:  authentification par mot de passe échouée pour l'utilisateur  « app »",
        "ВАЖНО:  роль \"app\" не существует",
        "FATAL:  ロール\"app\"は存在しません",
        "致命错误:  数据库 \"d\" 不存在",
        "FATALNY:  autoryzacja hasłem nie powiodła się dla użytkownika \"app\"",
        "FATAL:  autenticação do tipo senha falhou para o usuário \"app\"",
        "ÖLÜMCÜL (FATAL):  \"app\" kullanıcısı için şifre doğrulaması başarısız oldu",
        "FATAL:  password gagal diotentikasi untuk pengguna  « app »",
        "致命错误:  不允许角色\"app\" 进行登录",
        "connection to server on socket \"/run/s\" failed: fe_sendauth: no password supplied",
    ]);
    #[cfg(feature = "mysql")]
    check(&[
        "Access denied for user 'app'@'%' (using password: YES)",
        "Benutzer 'app'@'localhost' hat keine Zugriffsberechtigung (verwendetes Passwort: Ja)",
        "ユーザー 'app'@'localhost' を拒否します.uUsing password: YES)",
        "Unbekannte Datenbank 'd'",
        "未知数据库'd'",
        "Host'10.0.0.1'不允许连接到此MariaDB服务器",
        "Host '10.0.0.1' is not allowed to connect to this MySQL server",
        "Base de datos desconocida 'd'",
        "Servidor '10.0.0.1' no está permitido para conectar con este servidor MySQL",
        "Authentication plugin 'caching_sha2_password' reported error: Authentication requires secure connection.",
        "SSL connection error: SSL is required but the server doesn't support it",
        "SSL connection error: CA certificate is required if ssl-mode is VERIFY_CA or VERIFY_IDENTITY",
        "Your password has expired. To log in you must change it using a client that supports expired passwords",
        "Nenosiri lako limeisha muda wake. Ili kuingia lazima ulibadilishe kwa kutumia kiteja kinachotumia nywila zilizoisha muda wake",
        "You must SET PASSWORD before executing this statement",
        "You must reset your password using ALTER USER statement before executing this statement.",
        "Trebuie sa iti schimbi parola folosind SET PASSWORD inainte de a executa aceasta comanda",
        "Connections using insecure transport are prohibited while --require_secure_transport=ON.",
        "Plugin 'ed25519' is not loaded",
        "Plugin 'ed25519' ist nicht geladen",
        "插件'ed25519'未加载",
        "Client does not support authentication protocol requested by server; consider upgrading MySQL client",
        "Access denied for user 'app'@'%'. Account is locked.",
        "访问拒绝，此帐户已锁定",
        "Mpangishi '10.0.0.1' hairuhusiwi kuunganishwa kwenye seva hii ya MariaDB",
    ]);
    #[cfg(feature = "sqlite")]
    check(&["unable to open database file"]);
}

#[test]
fn what_may_be_over_later_is_none() {
    for text in [
        "connection to server at \"db\" (10.0.0.1), port 5432 failed: Connection refused",
        "could not translate host name \"db\" to address: Name or service not known",
        "FATAL:  the database system is starting up",
        "FATAL:  das Datenbanksystem startet",
        "FATAL:  cancelando la autentificación debido a que se agotó el tiempo de espera",
        "FATAL:  das Datenbanksystem akzeptiert keine Verbindungen",
        "FATAL:  tut mir leid, schon zu viele Verbindungen",
        "FATAL:  zu viele Verbindungen von Rolle »app«",
        "FATAL:  database \"d\" is not currently accepting connections",
        // A name chosen by a user.
        "connection to server on socket \"/role \"\" does not exist\" failed: No such file",
        "Too many connections",
        "The server is currently in offline mode",
        "User 'app' has exceeded the 'max_user_connections' resource (current value: 1)",
        "Host 'a' is blocked because of many connection errors",
        "Can't connect to server on '127.0.0.1' (111)",
    ] {
        assert!(!is_refusal(text), "{text}");
    }
}
