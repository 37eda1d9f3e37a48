drop table outbox_streams;
