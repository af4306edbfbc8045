-- Lines of an account come together and in the order of accounts, so that a B-tree takes them at one place, where a hash takes
-- them all over its pages. The pattern operators compare bytes: their order is none in which arrears could be read, so that the
-- planner is not tempted to.
CREATE INDEX receivable_open_of_account ON receivable_open (settlement_account_id text_pattern_ops);
DROP INDEX receivable_open_account;
ALTER INDEX receivable_open_of_account RENAME TO receivable_open_account;
