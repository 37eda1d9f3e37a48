//! No secret is shown: not in an error, a debug print or a printed setting.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use diesel_outbox::config::{Config, Secret};

use crate::{flags, from_env, from_file, message};

#[test]
fn no_password_is_ever_shown() {
    let url = "postgres://app:hunter2@db/shop";
    let broker = "stomp://app:hunter2@mq/";
    let words = ["--database-url", url, "--stomp-url", broker];
    let args = flags(&words);
    let builder = Config::builder().set("stomp_url", broker).flags(&args);
    let mut shown = format!("{args:?} {builder:?}");
    let config = builder.build().unwrap();
    assert_eq!(config.require_database_url().unwrap().expose(), url);
    shown.push_str(&format!("{config:?} {config:#?} {}", config.stomp_url));
    shown.push_str(&config.stomp_url.redacted());

    let bad = "app:hunter2@db";
    let nul = "postgres://app:hunter2@db/\n";
    let mut errors = vec![
        Config::builder()
            .flags(&flags(&["--stomp-url", bad]))
            .build()
            .unwrap_err(),
        Config::builder()
            .set("database_url", nul)
            .build()
            .unwrap_err(),
        from_env("STOMP_URL", bad).unwrap_err(),
        from_env("OUTBOX_DATABSE_URL", url).unwrap_err(),
        from_file(&format!("databse_url = \"{url}\""))
            .unwrap_err()
            .1,
        from_file(&format!("database_url = [\"{url}\"]"))
            .unwrap_err()
            .1,
        from_file(&format!("stomp_url = {{ url = \"{url}\" }}"))
            .unwrap_err()
            .1,
        from_file(&format!("stomp_url = {url}")).unwrap_err().1,
        from_file(&format!("stomp_url = \"{url}\\q\""))
            .unwrap_err()
            .1,
        from_file(&format!("{url} = 1")).unwrap_err().1,
    ];
    let not_utf8 = OsString::from_vec([b"stomp://app:hunter2@mq/", &[0xff][..]].concat());
    let variables = [(OsString::from("STOMP_URL"), not_utf8)];
    errors.push(Config::builder().env_from(variables).build().unwrap_err());
    let mut config = Config::default();
    config.stomp_url = Secret::new(bad);
    errors.push(config.validate().unwrap_err());
    for error in errors {
        shown.push_str(&format!("{error} {error:?} {error:#?}\n"));
    }
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains(
        "stomp_url (its value is not shown) from flag --stomp-url is not the address of a broker"
    ));
}

#[test]
fn a_mistake_in_signing_keys_is_reported_without_a_secret() {
    let secret = "0123456789abcdef";
    for (keys, expected) in [
        (
            secret.to_owned(),
            "key 1 has no `:` between its id and its secret",
        ),
        (
            format!("a:{secret},b:short"),
            "the secret of the key `b` has fewer than 16 bytes",
        ),
        (format!("a:{secret} a:{secret}"), "two keys have the id `a`"),
        (format!("a b:{secret}"), "key 1 has no `:`"),
        (String::new(), "there is no key"),
    ] {
        let error = message(from_env("OUTBOX_SIGNING_KEYS", &keys));
        assert!(error.contains(expected), "{error}");
        assert!(
            !error.contains(secret) && !error.contains("short,"),
            "{error}"
        );
    }
    for (name, value) in [
        ("sign", "true"),
        ("verify_signatures", "warn"),
        ("verify_signatures", "require"),
    ] {
        let error = message(Config::builder().set(name, value).build());
        assert!(
            error.contains("must be set together with signing_keys"),
            "{error}"
        );
    }
    let config = Config::builder().set("signing_keys", format!("a:{secret}"));
    let config = config
        .set("sign", true)
        .set("verify_signatures", "require")
        .build()
        .unwrap();
    assert!(!format!("{config:?}").contains(secret));
}
