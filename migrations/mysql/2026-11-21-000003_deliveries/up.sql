-- Started attempts at redelivered messages, by processes that ended before the attempt did.
create table outbox_deliveries (
    msg_id     varchar(100) not null,
    consumer   varchar(100) not null default '',
    begun      integer not null,
    last_begun datetime(6) not null default (utc_timestamp(6)),
    primary key (msg_id, consumer)
) engine = innodb row_format = dynamic default character set utf8mb4 collate utf8mb4_bin;
