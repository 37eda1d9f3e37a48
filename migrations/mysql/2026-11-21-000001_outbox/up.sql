-- Times are UTC. Texts compare byte by byte, as they do on the other databases.
create table published (
    id          char(36) character set ascii collate ascii_bin primary key,
    version     varchar(100),
    destination varchar(255) not null,
    body        json not null,
    headers     json not null default (json_object()),
    added       datetime(6) not null default (utc_timestamp(6)),
    expires_at  datetime(6) not null default '9000-01-01 00:00:00',
    retry       integer not null default 0 check (retry >= 0),
    status      integer not null default 1 check (status in (-1, 1, 2)),
    seq         bigint not null auto_increment,
    stream      varchar(100),
    `key`       varchar(255),
    -- Not before this time; while a relay has leased the row, the end of its lease.
    due_at      datetime(6) not null default '1970-01-01 00:00:00',
    lease_token char(36) character set ascii collate ascii_bin,
    sent_at     datetime(6),
    last_error  text,
    signature   text,
    unique key published_seq (seq),
    -- A poll reads the waiting rows of this one, in their order.
    key published_waiting (status, seq),
    -- "Which keys are blocked, and from which row on?"
    key published_held (status, due_at, `key`, seq),
    key published_settled (status, added)
) engine = innodb row_format = dynamic default character set utf8mb4 collate utf8mb4_bin;

create table received (
    id         char(36) character set ascii collate ascii_bin primary key,
    msg_id     varchar(100),
    consumer   varchar(100) not null default '',
    headers    json,
    body       json,
    added      datetime(6) not null default (utc_timestamp(6)),
    expires_at datetime(6) not null default '9000-01-01 00:00:00',
    retry      integer not null default 0 check (retry >= 0),
    status     integer not null default 2 check (status in (-1, 1, 2)),
    constraint received_once unique (msg_id, consumer),
    key received_added (added)
) engine = innodb row_format = dynamic default character set utf8mb4 collate utf8mb4_bin;

-- When a job that any process may do was last started. The row `claim` is the lock of claims.
create table outbox_jobs (
    name  varchar(100) primary key,
    begun datetime(6) not null
) engine = innodb row_format = dynamic default character set utf8mb4 collate utf8mb4_bin;
insert into outbox_jobs (name, begun) values ('claim', '1970-01-01 00:00:00');
