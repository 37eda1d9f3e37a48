drop trigger outbox_wake on published;
drop function outbox_wake();
