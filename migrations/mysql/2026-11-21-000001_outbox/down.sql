drop table outbox_jobs;
drop table received;
drop table published;
