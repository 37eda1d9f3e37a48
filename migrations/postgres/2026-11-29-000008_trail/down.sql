drop table outbox_trail;
