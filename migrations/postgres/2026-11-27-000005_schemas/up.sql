-- The notification names the schema, so that it reaches only the relays of this outbox.
create or replace function outbox_wake() returns trigger language plpgsql as $$
begin
    perform pg_catalog.pg_notify('outbox', tg_table_schema);
    return null;
end
$$;
