//! The pages of the folder `docs`, to read beside the reference.
//!
//! | page | about |
//! | --- | --- |
//! | [`guarantees`] | every promise, its limits, and the test that shows it |
//! | [`configuration`] | the settings |
//! | [`metrics`](mod@metrics) | series, health checks, alerts, a dashboard |
//! | [`programs`] | the programs, their exit codes and log lines |
//! | [`relay`] | how a relay works: wake-up, streams, failing destinations, locked rows |
//! | [`subscriber`] | how a subscriber works: workers, several subscriptions, programs |
//! | [`in_your_service`] | a relay in your own process: hooks, wake-up, your pool; operations as functions |
//! | [`production`] | a checklist and sizes: connections, time limits, retention, autovacuum, containers |
//! | [`operations`] | runbook: what to watch, what each alert means, what to do |
//! | [`doctor`] | `outbox doctor`: checks of a deployment |
//! | [`dead_letters`] | list dead letters, send them back |
//! | [`traces`] | spans of messages and calls, OpenTelemetry |
//! | [`deployment`] | units for systemd, manifests for Kubernetes |
//! | [`rows`] | `outbox list`, `show`, `retry` and others: look at rows and change them |
//! | [`web`] | the pages for operators in a browser |
//! | [`json`] | what `outbox --json` prints |
//! | [`databases`] | what differs between databases; schemas, poolers, errors |
//! | [`brokers`] | what differs between brokers; destinations and queues |
//! | [`servers`] | tested versions of servers, and what differs between them |
//! | [`celery`] | tasks for Celery workers, and tasks of Celery clients |
//! | [`signing`] | signed rows: what a changed row does, keys, rollout |
//! | [`stomp`] | TLS, STOMP versions and limits of the connection |
//! | [`from_django_outbox_pattern`] | beside or in the place of a Django service |
//! | [`from_django_jaiminho`] | from its function calls to ours |
//! | [`benchmarks`] | what it costs |

// A page links to another one by a reference such as `[relay.md#streams]`. Its own definition, at its
// end, is for GitHub. The first definition of a reference wins in Markdown (CommonMark 0.31, section 4.7), so
// these, in front of the page, are for rustdoc.
macro_rules! pages {
    ($($page:ident: $file:literal,)*) => { $(
        #[doc = "[configuration.md]: crate::guide::configuration"]
        #[doc = "[configuration.md#the-settings-of-django-outbox-pattern]: crate::guide::configuration#the-settings-of-django-outbox-pattern"]
        #[doc = "[guarantees.md]: crate::guide::guarantees"]
        #[doc = "[calls.md]: crate::guide::calls"]
        #[doc = "[metrics.md]: crate::guide::metrics"]
        #[doc = "[traces.md]: crate::guide::traces"]
        #[doc = "[operations.md]: crate::guide::operations"]
        #[doc = "[programs.md]: crate::guide::programs"]
        #[doc = "[relay.md]: crate::guide::relay"]
        #[doc = "[relay.md#streams]: crate::guide::relay#streams"]
        #[doc = "[relay.md#many-rows-behind-a-blocked-key-or-in-a-paused-stream]: crate::guide::relay#many-rows-behind-a-blocked-key-or-in-a-paused-stream"]
        #[doc = "[subscriber.md]: crate::guide::subscriber"]
        #[doc = "[in-your-service.md]: crate::guide::in_your_service"]
        #[doc = "[production.md]: crate::guide::production"]
        #[doc = "[production.md#rabbitmq-4]: crate::guide::production#rabbitmq-4"]
        #[doc = "[doctor.md]: crate::guide::doctor"]
        #[doc = "[dead-letters.md]: crate::guide::dead_letters"]
        #[doc = "[deployment.md]: crate::guide::deployment"]
        #[doc = "[databases.md]: crate::guide::databases"]
        #[doc = "[databases.md#postgresql]: crate::guide::databases#postgresql"]
        #[doc = "[databases.md#one-outbox-is-one-schema]: crate::guide::databases#one-outbox-is-one-schema"]
        #[doc = "[databases.md#errors-whose-fault-they-are]: crate::guide::databases#errors-whose-fault-they-are"]
        #[doc = "[brokers.md]: crate::guide::brokers"]
        #[doc = "[brokers.md#rabbitmq]: crate::guide::brokers#rabbitmq"]
        #[doc = "[brokers.md#destinations-and-queues]: crate::guide::brokers#destinations-and-queues"]
        #[doc = "[servers.md]: crate::guide::servers"]
        #[doc = "[servers.md#client-libraries-of-mysql-and-mariadb]: crate::guide::servers#client-libraries-of-mysql-and-mariadb"]
        #[doc = "[servers.md#rabbitmq-4]: crate::guide::servers#rabbitmq-4"]
        #[doc = "[rows.md]: crate::guide::rows"]
        #[doc = "[web.md]: crate::guide::web"]
        #[doc = "[json.md]: crate::guide::json"]
        #[doc = "[signing.md]: crate::guide::signing"]
        #[doc = "[stomp.md]: crate::guide::stomp"]
        #[doc = "[celery.md]: crate::guide::celery"]
        #[doc = "[from-django-outbox-pattern.md]: crate::guide::from_django_outbox_pattern"]
        #[doc = "[from-django-jaiminho.md]: crate::guide::from_django_jaiminho"]
        #[doc = "[benchmarks.md]: crate::guide::benchmarks"]
        #[doc = ""]
        #[doc = include_str!(concat!("../docs/", $file))]
        pub mod $page {}
    )* };
}

pages! {
    guarantees: "guarantees.md",
    calls: "calls.md",
    configuration: "configuration.md",
    metrics: "metrics.md",
    programs: "programs.md",
    relay: "relay.md",
    subscriber: "subscriber.md",
    in_your_service: "in-your-service.md",
    production: "production.md",
    operations: "operations.md",
    doctor: "doctor.md",
    dead_letters: "dead-letters.md",
    traces: "traces.md",
    deployment: "deployment.md",
    rows: "rows.md",
    web: "web.md",
    json: "json.md",
    databases: "databases.md",
    brokers: "brokers.md",
    servers: "servers.md",
    celery: "celery.md",
    signing: "signing.md",
    stomp: "stomp.md",
    from_django_outbox_pattern: "from-django-outbox-pattern.md",
    from_django_jaiminho: "from-django-jaiminho.md",
    benchmarks: "benchmarks.md",
}
