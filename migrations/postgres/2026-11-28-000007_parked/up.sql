-- The parked rows, without reading those that were sent. Writers wait while the indexes are built; an adoption of
-- Django's tables has built the first one before, without that.
set local lock_timeout = '5s';
create index if not exists published_parked on published (seq) where status = -1;
create index if not exists outbox_calls_parked on outbox_calls (seq) where status = -1;
