-- The ledger (账簿): every movement of a customer's funds is an entry, and the entries of a fund chain without a gap.

-- The numbers of postings, bills and draws.
CREATE SEQUENCE posting_number AS bigint;
CREATE SEQUENCE bill_number AS bigint MAXVALUE 999999999999999;
CREATE SEQUENCE draw_number AS bigint MAXVALUE 999999999999999;

-- Postings (记账): what one transaction moved. The inner accounts of a company, revenue and cash, have their part here, debit
-- positive: one row a transaction, so that they are no row that all transactions wait for. With it the entries of a
-- posting add up to zero. Who made the entries stands here once.
CREATE TABLE posting (
    company_id     text NOT NULL REFERENCES platform.tenant,
    posting_id     bigint NOT NULL,
    operation_date date NOT NULL,
    revenue        numeric(18, 2) NOT NULL CHECK (revenue BETWEEN -9999999999999999.99 AND 9999999999999999.99),
    cash           numeric(18, 2) NOT NULL CHECK (cash BETWEEN -9999999999999999.99 AND 9999999999999999.99),
    operator_id    text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id     text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id       text NOT NULL DEFAULT platform.actor('trace_id'),
    written_at     timestamptz NOT NULL DEFAULT platform.instant(),
    PRIMARY KEY (company_id, posting_id)
);
CREATE INDEX posting_of_day ON posting (company_id, operation_date);

-- Balances: the last entry of each fund of a customer. Its row is the lock that keeps a run and a payment apart. A run
-- changes every row of a page, so half of each page is free.
CREATE TABLE balance (
    company_id  text NOT NULL,
    customer_id text NOT NULL,
    -- 1 available funds, 2 receivable, 3 payable, 4 non-operating income.
    fund        text NOT NULL CHECK (fund IN ('1', '2', '3', '4')),
    -- The number of the last entry; 0 before the first.
    entry       bigint NOT NULL CHECK (entry >= 0),
    balance     numeric(18, 2) NOT NULL CHECK (balance BETWEEN -9999999999999999.99 AND 9999999999999999.99),
    PRIMARY KEY (company_id, customer_id, fund),
    FOREIGN KEY (company_id, customer_id) REFERENCES customer,
    CONSTRAINT balance_available CHECK (fund <> '1' OR balance >= 0)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- Entries. Append-only; the numbers of a fund's entries are 1, 2, … and each begins with the balance of the one before.
CREATE TABLE ledger (
    company_id     text NOT NULL,
    customer_id    text NOT NULL,
    fund           text NOT NULL CHECK (fund IN ('1', '2', '3', '4')),
    entry          bigint NOT NULL CHECK (entry > 0),
    -- The account month in which it was booked.
    account_month  integer NOT NULL CHECK (account_month BETWEEN 190001 AND 999912),
    posting_id     bigint NOT NULL,
    operation_date date NOT NULL,
    -- The bill, draw or receipt that made it.
    serial         text NOT NULL CHECK (serial <> ''),
    -- 1 issued, 2 written off, 3 drawn, 4 deposited, 5 voided, 6 reversal, 7 reversed.
    business_kind  text NOT NULL CHECK (business_kind IN ('1', '2', '3', '4', '5', '6', '7')),
    previous       numeric(18, 2) NOT NULL CHECK (previous BETWEEN -9999999999999999.99 AND 9999999999999999.99),
    debit          numeric(16, 2) NOT NULL CHECK (debit BETWEEN -99999999999999.99 AND 99999999999999.99),
    credit         numeric(16, 2) NOT NULL CHECK (credit BETWEEN -99999999999999.99 AND 99999999999999.99),
    balance        numeric(18, 2) NOT NULL CHECK (balance BETWEEN -9999999999999999.99 AND 9999999999999999.99),
    PRIMARY KEY (company_id, customer_id, fund, entry, account_month),
    -- Receivables grow by debits, the other funds by credits.
    CONSTRAINT ledger_adds_up CHECK (
        balance = previous + CASE fund WHEN '2' THEN debit - credit ELSE credit - debit END),
    CONSTRAINT ledger_one_side CHECK ((debit = 0) <> (credit = 0)),
    CONSTRAINT ledger_available CHECK (fund <> '1' OR balance >= 0),
    CONSTRAINT ledger_begins_at_nothing CHECK (entry > 1 OR previous = 0)
) PARTITION BY RANGE (account_month);

-- Months that are open already.
SELECT open_account_month(account_month)
FROM (SELECT DISTINCT account_month FROM month_control WHERE kind = 'account') AS months;

-- What the role that serves may do: an entry stays as it was written.
GRANT SELECT, INSERT ON posting, ledger TO communal_server;
GRANT SELECT, INSERT, UPDATE ON balance TO communal_server;
GRANT USAGE ON SEQUENCE posting_number, bill_number, draw_number TO communal_server;
