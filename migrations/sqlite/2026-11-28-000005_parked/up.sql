-- The parked rows, without reading those that were sent.
create index if not exists published_parked on published (seq) where status = -1;
create index if not exists outbox_calls_parked on outbox_calls (seq) where status = -1;
