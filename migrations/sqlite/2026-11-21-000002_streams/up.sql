-- Streams that were paused or looked up; a stream without a row is not paused.
create table outbox_streams (
    name   text primary key not null check (length(name) <= 100),
    paused boolean not null default false
);
