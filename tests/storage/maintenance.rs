//! Deleting and counting.

use diesel_outbox::backend::Table;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn only_old_and_settled_rows_go<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    for row in 0..6 {
        write(&mut conn, row, None);
    }
    conn.batch_execute(
        "update published set status = 2 where seq in (1, 2, 3);
         update published set status = -1 where seq = 4;
         update published set added = '2001-01-01 00:00:00.000000' where seq in (1, 2, 4, 5);
         insert into received (id, msg_id, added)
             values ('00000000-0000-0000-0000-000000000001', 'old', '2001-01-01 00:00:00.000000');
         insert into received (id, msg_id)
             values ('00000000-0000-0000-0000-000000000002', 'new')",
    )
    .unwrap();
    let delete = |conn: &mut C, table, age, batch| conn.delete_older(table, age, batch).unwrap();
    assert_eq!(delete(&mut conn, Table::Published, DAY, 1), 1, "a batch");
    assert_eq!(delete(&mut conn, Table::Published, DAY, 10), 1);
    assert_eq!(delete(&mut conn, Table::Published, DAY, 10), 0);
    assert_eq!(delete(&mut conn, Table::Received, DAY, 10), 1);
    let counts = admin::status(&mut conn).unwrap();
    assert_eq!((counts.parked, counts.waiting), (1, 2));
    let totals = admin::totals(&mut conn).unwrap();
    assert_eq!((totals.sent, totals.received), (1, 1));
    assert_eq!(delete(&mut conn, Table::Published, Duration::ZERO, 10), 1);
}

/// A row that waited for long is kept as long as any other. Django stores no time of sending.
pub(crate) fn a_row_is_kept_from_when_it_was_sent<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    for row in 0..3 {
        write(&mut conn, row, None);
    }
    let present = conn.now().unwrap().format("%Y-%m-%d %H:%M:%S%.6f");
    conn.batch_execute(&format!(
        "update published set status = 2, added = '2001-01-01 00:00:00.000000';
         update published set sent_at = '{present}' where seq = 1;
         update published set sent_at = '2001-01-02 00:00:00.000000' where seq = 2"
    ))
    .unwrap();
    assert_eq!(conn.delete_older(Table::Published, DAY, 10).unwrap(), 2);
    assert_eq!(admin::totals(&mut conn).unwrap().sent, 1);
    assert_eq!(
        conn.delete_older(Table::Published, Duration::ZERO, 10)
            .unwrap(),
        1
    );
}

pub(crate) fn a_job_is_begun_once_in_its_interval<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    assert!(conn.begin_job("clean", DAY).unwrap());
    assert!(!conn.begin_job("clean", DAY).unwrap());
    assert!(conn.begin_job("another", DAY).unwrap());
    assert!(conn.begin_job("clean", Duration::ZERO).unwrap());
    let mut jobs = conn.jobs_within(DAY).unwrap();
    jobs.retain(|name| name != "claim");
    jobs.sort_unstable();
    assert_eq!(jobs, ["another", "clean"]);
    conn.batch_execute(
        "update outbox_jobs set begun = '2001-01-01 00:00:00.000000' where name = 'clean'",
    )
    .unwrap();
    assert!(!conn.jobs_within(DAY).unwrap().contains(&"clean".to_owned()));
    let begun: usize = std::thread::scope(|scope| {
        let turns: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| connect::<C>(url).begin_job("race", DAY).unwrap()))
            .collect();
        turns
            .into_iter()
            .map(|turn| usize::from(turn.join().unwrap()))
            .sum()
    });
    assert_eq!(begun, 1);
}

pub(crate) fn services_may_migrate_at_the_same_moment<C: Subject>(url: &str) {
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| connect::<C>(url).check_tables().unwrap());
        }
    });
}

pub(crate) fn missing_tables_are_noticed<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    conn.check_tables().unwrap();
    conn.revert().unwrap();
    assert!(conn.check_tables().is_err());
}

pub(crate) fn counts_tell_what_is_there<C: Subject>(url: &str) {
    let mut conn = connect::<C>(url);
    assert_eq!(admin::status(&mut conn).unwrap(), Default::default());
    write(&mut conn, 0, None);
    let counts = admin::status(&mut conn).unwrap();
    assert_eq!((counts.waiting, counts.not_due), (1, 0));
    assert!(counts.oldest_waiting.is_some());
}
