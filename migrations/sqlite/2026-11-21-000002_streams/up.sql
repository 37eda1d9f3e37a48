-- What is to be done with a stream; one that is not here is sent.
create table outbox_streams (
    name   text primary key not null check (length(name) <= 100),
    paused boolean not null default false
);
