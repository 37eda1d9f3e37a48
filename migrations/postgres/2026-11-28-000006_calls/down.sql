drop table outbox_calls;
