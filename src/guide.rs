//! The pages of the folder `docs`, to read beside the reference.
//!
//! | page | about |
//! | --- | --- |
//! | [`guarantees`] | every promise, its limits, and the test that shows it |
//! | [`configuration`] | the settings |
//! | [`metrics`](mod@metrics) | series, health checks, alerts, a dashboard |
//! | [`traces`] | spans of messages and calls, OpenTelemetry |
//! | [`operations`] | running it: programs, workers, streams, dead letters, containers |
//! | [`deployment`] | units for systemd, manifests for Kubernetes |
//! | [`rows`] | `outbox list`, `show`, `retry` and others: look at rows and change them |
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

// A page links to another one by a reference such as `[operations.md#streams]`. Its own definition, at its
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
        #[doc = "[operations.md#streams]: crate::guide::operations#streams"]
        #[doc = "[operations.md#many-rows-behind-a-blocked-key-or-in-a-paused-stream]: crate::guide::operations#many-rows-behind-a-blocked-key-or-in-a-paused-stream"]
        #[doc = "[deployment.md]: crate::guide::deployment"]
        #[doc = "[databases.md]: crate::guide::databases"]
        #[doc = "[databases.md#postgresql]: crate::guide::databases#postgresql"]
        #[doc = "[databases.md#one-outbox-is-one-schema]: crate::guide::databases#one-outbox-is-one-schema"]
        #[doc = "[databases.md#errors-whose-fault-they-are]: crate::guide::databases#errors-whose-fault-they-are"]
        #[doc = "[brokers.md]: crate::guide::brokers"]
        #[doc = "[brokers.md#rabbitmq]: crate::guide::brokers#rabbitmq"]
        #[doc = "[brokers.md#destinations-and-queues]: crate::guide::brokers#destinations-and-queues"]
        #[doc = "[servers.md]: crate::guide::servers"]
        #[doc = "[servers.md#mysql-97]: crate::guide::servers#mysql-97"]
        #[doc = "[servers.md#rabbitmq-4]: crate::guide::servers#rabbitmq-4"]
        #[doc = "[rows.md]: crate::guide::rows"]
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
    traces: "traces.md",
    operations: "operations.md",
    deployment: "deployment.md",
    rows: "rows.md",
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
