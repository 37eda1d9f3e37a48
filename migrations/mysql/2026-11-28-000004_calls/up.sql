-- Function calls: rows with the lifecycle of `published`.
create table outbox_calls (
    id          char(36) character set ascii collate ascii_bin primary key,
    name        varchar(255) not null,
    -- The arguments by name; null if `payload` has them.
    args        json,
    payload     longblob,
    encoding    varchar(40) not null default 'json',
    headers     json not null default (json_object()),
    added       datetime(6) not null default (utc_timestamp(6)),
    expires_at  datetime(6) not null default '9000-01-01 00:00:00',
    retry       integer not null default 0 check (retry >= 0),
    status      integer not null default 1 check (status in (-1, 1, 2)),
    seq         bigint not null auto_increment,
    stream      varchar(100),
    `key`       varchar(255),
    -- Not before this time; while an executor has leased the row, the end of its lease.
    due_at      datetime(6) not null default '1970-01-01 00:00:00',
    lease_token char(36) character set ascii collate ascii_bin,
    done_at     datetime(6),
    last_error  text,
    signature   text,
    -- Executions that ended with their process.
    crashes     integer not null default 0,
    unique key outbox_calls_seq (seq),
    key outbox_calls_waiting (status, seq),
    key outbox_calls_held (status, due_at, `key`, seq),
    key outbox_calls_settled (status, added)
) engine = innodb row_format = dynamic default character set utf8mb4 collate utf8mb4_bin;
insert into outbox_jobs (name, begun) values ('claim outbox_calls', '1970-01-01 00:00:00');
