-- Tells waiting relays that there is something to send, whoever wrote it: once for a transaction,
-- for PostgreSQL leaves out notifications that are the same.
-- The trigger needs the table for a moment; while it waits for that, writers wait too.
set local lock_timeout = '5s';
create function outbox_wake() returns trigger language plpgsql as $$
begin
    perform pg_notify('outbox', '');
    return null;
end
$$;
create trigger outbox_wake after insert on published
    for each statement execute function outbox_wake();
