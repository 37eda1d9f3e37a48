delete from outbox_jobs where name = 'claim outbox_calls';
drop table outbox_calls;
