-- no-transaction
CREATE INDEX CONCURRENTLY receivable_settled_by_month ON receivable_settled (network_company_id, account_month);
