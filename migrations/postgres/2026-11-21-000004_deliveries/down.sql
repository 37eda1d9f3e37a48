drop table outbox_deliveries;
