-- no-transaction
CREATE INDEX CONCURRENTLY change_of_operator ON platform.change (tenant_id, operator_id, change_number DESC);
