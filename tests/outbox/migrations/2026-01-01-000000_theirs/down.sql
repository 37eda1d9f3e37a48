drop table theirs;
