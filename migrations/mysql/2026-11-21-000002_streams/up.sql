-- Streams that were paused or looked up; a stream without a row is not paused.
create table outbox_streams (
    name   varchar(100) primary key,
    paused boolean not null default false
) engine = innodb row_format = dynamic default character set utf8mb4 collate utf8mb4_bin;
