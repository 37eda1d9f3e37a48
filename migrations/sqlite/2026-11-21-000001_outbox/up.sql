-- Times are UTC texts of one width, `YYYY-MM-DD HH:MM:SS.ffffff`, so that they sort as times.
create table published (
    seq         integer primary key autoincrement,
    id          text not null unique,
    version     text check (length(version) <= 100),
    destination text not null check (length(destination) <= 255),
    body        text not null,
    headers     text not null default '{}',
    added       text not null default (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
    expires_at  text not null default '9000-01-01 00:00:00.000000',
    retry       integer not null default 0 check (retry >= 0),
    status      integer not null default 1 check (status in (-1, 1, 2)),
    stream      text check (length(stream) <= 100),
    key         text check (length(key) <= 255),
    -- Not before this time; while a relay has leased the row, the end of its lease.
    due_at      text not null default '1970-01-01 00:00:00.000000',
    lease_token text,
    sent_at     text,
    last_error  text,
    signature   text
);
-- A poll reads this one: its size is that of the waiting rows, not of the sent ones.
create index published_waiting on published (seq) where status = 1;
-- "Is an earlier row of this key blocked?"
create index published_held on published (key, due_at, seq) where status <> 2 and key is not null;
create index published_settled on published (added) where status = 2;

create table received (
    id         text primary key not null,
    msg_id     text check (length(msg_id) <= 100),
    consumer   text not null default '' check (length(consumer) <= 100),
    headers    text,
    body       text,
    added      text not null default (strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'),
    expires_at text not null default '9000-01-01 00:00:00.000000',
    retry      integer not null default 0 check (retry >= 0),
    status     integer not null default 2 check (status in (-1, 1, 2)),
    constraint received_once unique (msg_id, consumer)
);
create index received_added on received (added);

-- When a job that any process may do was last started.
create table outbox_jobs (
    name  text primary key not null,
    begun text not null
);
