-- What an account owes is looked up by equality alone, and an index in the order of accounts is one more order to read arrears
-- in: where few books have most lines, the planner walked it through the whole table. A hash has no order.
DROP INDEX receivable_open_account;
CREATE INDEX receivable_open_account ON receivable_open USING hash (settlement_account_id);
