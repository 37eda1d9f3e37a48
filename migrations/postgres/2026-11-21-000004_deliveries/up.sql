-- Started attempts at redelivered messages, by processes that ended before the attempt did.
create table outbox_deliveries (
    msg_id     varchar(100) not null,
    consumer   varchar(100) not null default '',
    begun      integer not null,
    last_begun timestamptz not null default now(),
    primary key (msg_id, consumer)
);
