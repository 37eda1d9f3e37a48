-- Who changed what on the pages for operators, if the setting web_trail says so.
create table outbox_trail (
    id      varchar(36) not null primary key,
    added   datetime(6) not null default (utc_timestamp(6)),
    name    varchar(100) not null,
    action  varchar(40) not null,
    -- What was changed: messages, calls, a stream, dead letters of a queue.
    target  varchar(255) not null,
    -- Which of them: a filter or ids.
    details text not null,
    changed bigint not null,
    error   text,
    key outbox_trail_added (added)
) engine = innodb row_format = dynamic default character set utf8mb4 collate utf8mb4_bin;
