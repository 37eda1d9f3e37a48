-- Who changed what on the pages for operators, if the setting web_trail says so.
create table outbox_trail (
    id      text primary key not null,
    added   text not null default (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
    name    text not null,
    action  text not null,
    -- What was changed: messages, calls, a stream, dead letters of a queue.
    target  text not null,
    -- Which of them: a filter or ids.
    details text not null,
    changed bigint not null,
    error   text
);
create index outbox_trail_added on outbox_trail (added);
