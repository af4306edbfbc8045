-- The quantities that accounts were billed so far (累计用量) move to a narrow table: each charge-off of an account changes
-- them, and an account's own row is wide, indexed and in the change log. Half of a page is free, so that the change of a whole
-- month stays within its page.
CREATE TABLE account_accumulator (
    company_id            text NOT NULL,
    settlement_account_id text NOT NULL,
    -- The account month of the last bill, yyyyMM: the quantities are of it and of its year. NULL before the first bill.
    account_month         integer CHECK (account_month BETWEEN 190001 AND 999912),
    year_quantity         numeric(16, 2) NOT NULL DEFAULT 0
        CHECK (year_quantity BETWEEN -99999999999999.99 AND 99999999999999.99),
    month_quantity        numeric(16, 2) NOT NULL DEFAULT 0
        CHECK (month_quantity BETWEEN -99999999999999.99 AND 99999999999999.99),
    -- Counts the changes: whoever calculated with a version finds out whether it is still the one.
    version               bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (company_id, settlement_account_id),
    FOREIGN KEY (company_id, settlement_account_id) REFERENCES settlement_account,
    CONSTRAINT account_accumulator_of_month CHECK (
        account_month IS NOT NULL OR (year_quantity = 0 AND month_quantity = 0))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

INSERT INTO account_accumulator (company_id, settlement_account_id, account_month, year_quantity, month_quantity)
SELECT company_id, settlement_account_id, quantity_month, year_quantity, month_quantity FROM settlement_account;

ALTER TABLE settlement_account
    DROP COLUMN year_quantity, DROP COLUMN quantity_year, DROP COLUMN month_quantity, DROP COLUMN quantity_month;

-- What the role that serves may do: an account has its accumulators for good.
GRANT SELECT, INSERT, UPDATE ON account_accumulator TO communal_server;
