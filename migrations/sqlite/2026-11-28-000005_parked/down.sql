drop index published_parked;
drop index outbox_calls_parked;
