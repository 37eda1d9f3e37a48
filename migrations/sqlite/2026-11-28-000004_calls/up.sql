-- Function calls: rows with the lifecycle of `published`.
create table outbox_calls (
    seq         integer primary key autoincrement,
    id          text not null unique,
    name        text not null check (length(name) <= 255),
    -- The arguments by name; null if `payload` has them.
    args        text,
    payload     blob,
    encoding    text not null default 'json' check (length(encoding) <= 40),
    headers     text not null default '{}',
    added       text not null default (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
    expires_at  text not null default '9000-01-01 00:00:00.000000',
    retry       integer not null default 0 check (retry >= 0),
    status      integer not null default 1 check (status in (-1, 1, 2)),
    stream      text check (length(stream) <= 100),
    key         text check (length(key) <= 255),
    -- Not before this time; while an executor has leased the row, the end of its lease.
    due_at      text not null default '1970-01-01 00:00:00.000000',
    lease_token text,
    done_at     text,
    last_error  text,
    signature   text,
    -- Executions that ended with their process.
    crashes     integer not null default 0
);
create index outbox_calls_waiting on outbox_calls (seq) where status = 1;
create index outbox_calls_held on outbox_calls (key, due_at, seq) where status <> 2 and key is not null;
create index outbox_calls_settled on outbox_calls (added) where status = 2;
