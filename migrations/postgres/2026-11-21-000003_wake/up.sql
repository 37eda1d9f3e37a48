-- Notifies waiting relays of new rows, whoever wrote them. It is one notification for each
-- transaction: PostgreSQL drops equal notifications of a transaction (NOTIFY).
-- Creating the trigger locks the table for a moment; while it waits for the lock, writers wait too.
set local lock_timeout = '5s';
create function outbox_wake() returns trigger language plpgsql as $$
begin
    perform pg_notify('outbox', '');
    return null;
end
$$;
create trigger outbox_wake after insert on published
    for each statement execute function outbox_wake();
