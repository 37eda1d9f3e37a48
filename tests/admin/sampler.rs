//! The gauges of the numbers of rows.

use diesel_outbox::admin::{self, Rows};
use diesel_outbox::metrics::Sampler;
use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;

pub(crate) fn a_sample_sets_the_gauges<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    let conn = &mut conn;
    let recorder = PrometheusBuilder::new().build_recorder();
    let recorded = recorder.handle();
    let shows = |line: &str| {
        let text = recorded.render();
        assert!(text.lines().any(|it| it == line), "no {line} in {text}");
    };
    metrics::with_local_recorder(&recorder, || {
        let mut sampler = Sampler::new(&[Rows::Messages, Rows::Calls]);
        shows("outbox_rows{state=\"due\"} 0");
        shows("outbox_oldest_pending_age_seconds{stream=\"\"} 0");
        sampler.sample(conn).unwrap();
        shows("outbox_rows{state=\"parked\"} 0");
        let ids = write_all(conn, 5);
        park(conn, &ids[..2], "refused");
        execute(
            conn,
            &format!(
                "update published set last_error = 'expired' where id = '{}';
                 update published set added = '2001-01-01 00:00:00.000000' where id = '{}';
                 insert into outbox_calls (id, name, args) values ('{}', 'charge', '{{}}')",
                ids[0], ids[2], ids[3]
            ),
        );
        admin::pause_stream(conn, "it's \"late\"").unwrap();
        sampler.sample(conn).unwrap();
        shows("outbox_rows{state=\"due\"} 4");
        shows("outbox_rows{state=\"parked\"} 1");
        shows("outbox_rows{state=\"expired\"} 1");
        shows("outbox_stream_paused{stream=\"it's \\\"late\\\"\"} 1");
        let age = recorded.render();
        let age = age
            .lines()
            .find_map(|line| line.strip_prefix("outbox_oldest_pending_age_seconds{stream=\"\"} "));
        assert!(age.unwrap().parse::<f64>().unwrap() > 25.0 * 365.0 * 86_400.0);
        // What is over is shown as over.
        execute(
            conn,
            "update published set status = 2; delete from outbox_calls",
        );
        admin::resume_stream(conn, "it's \"late\"").unwrap();
        sampler.sample(conn).unwrap();
        shows("outbox_rows{state=\"due\"} 0");
        shows("outbox_rows{state=\"expired\"} 0");
        shows("outbox_stream_paused{stream=\"it's \\\"late\\\"\"} 0");
        shows("outbox_oldest_pending_age_seconds{stream=\"\"} 0");
    });
}
