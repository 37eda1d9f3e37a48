-- The indexes are dropped with their tables.
select 1;
