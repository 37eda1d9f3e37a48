create table theirs (id integer primary key);
