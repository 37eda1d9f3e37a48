-- Started attempts at redelivered messages, by processes that ended before the attempt did.
create table outbox_deliveries (
    msg_id     text not null check (length(msg_id) <= 100),
    consumer   text not null default '' check (length(consumer) <= 100),
    begun      integer not null,
    last_begun text not null default (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
    primary key (msg_id, consumer)
);
