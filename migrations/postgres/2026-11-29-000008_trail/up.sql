-- Who changed what on the pages for operators, if the setting web_trail says so.
create table outbox_trail (
    id      varchar(36) primary key,
    added   timestamptz not null default now(),
    name    varchar(100) not null,
    action  varchar(40) not null,
    -- What was changed: messages, calls, a stream, dead letters of a queue.
    target  varchar(255) not null,
    -- Which of them: a filter or ids.
    details text not null,
    changed bigint not null,
    error   text
);
create index outbox_trail_added on outbox_trail (added);
