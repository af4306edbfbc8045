-- no-transaction
CREATE INDEX CONCURRENTLY receivable_open_by_store ON receivable_open (network_company_id, retail_store_id);
