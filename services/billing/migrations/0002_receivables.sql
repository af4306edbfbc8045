-- Receivable lines (应收、欠费): a fee line after charge-off, and what was paid on it.
--
-- The columns are those that are filtered, ordered, summed or changed. The line as it was billed is `issued`, an encoded
-- ReceivableLine without the fields that payments change. Open lines have a partition of their own, so that the lines that
-- are read every day stay in memory while the history grows. See docs/adr/0003-issued-lines-as-bytes.md.
CREATE TABLE receivable (
    network_company_id    text NOT NULL,
    retail_company_id     text NOT NULL,
    book_id               text NOT NULL,
    retail_store_id       text NOT NULL,
    -- The documented code of the kind.
    package_kind          text NOT NULL CHECK (package_kind IN ('1', '2', '3')),
    settlement_account_id text NOT NULL,
    -- yyyyMM.
    account_month         integer NOT NULL CHECK (account_month BETWEEN 190001 AND 999912),
    charge_off_date       date NOT NULL,
    charge_off_id         text NOT NULL,
    -- First 16 bytes of the SHA-256 of what identifies the line.
    line_key              bytea NOT NULL CHECK (octet_length(line_key) = 16),
    -- The bounds keep NaN out.
    fee                   numeric(16, 2) NOT NULL CHECK (fee BETWEEN -99999999999999.99 AND 99999999999999.99),
    paid_total            numeric(16, 2) NOT NULL CHECK (paid_total BETWEEN -99999999999999.99 AND 99999999999999.99),
    -- The latest payment and the one before; NULL if there was none.
    latest_paid           numeric(16, 2) CHECK (latest_paid BETWEEN -99999999999999.99 AND 99999999999999.99),
    latest_paid_date      date,
    latest_payment_id     text,
    previous_paid_date    date,
    previous_payment_id   text,
    -- Day from which the late-payment penalty counts.
    levy_date             date,
    -- yyyyMM in which the line was closed.
    settled_month         integer CHECK (settled_month BETWEEN 190001 AND 999912),
    settled               boolean NOT NULL,
    batch_id              text NOT NULL,
    issued                bytea NOT NULL,
    operator_id           text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id            text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id              text NOT NULL DEFAULT platform.actor('trace_id'),
    written_at            timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT receivable_settled_when_paid CHECK (settled = (fee = paid_total)),
    -- What is paid has the sign of what is due and is never more.
    CONSTRAINT receivable_never_overpaid CHECK (
        CASE WHEN fee >= 0 THEN paid_total >= 0 AND paid_total <= fee ELSE paid_total <= 0 AND paid_total >= fee END)
) PARTITION BY LIST (settled);

CREATE TABLE receivable_open PARTITION OF receivable FOR VALUES IN (false);
CREATE TABLE receivable_settled PARTITION OF receivable FOR VALUES IN (true);

-- A line exists once. A unique index of a partitioned table holds within a partition; the import checks, under a lock of
-- the company, that no line is open and settled at once.
CREATE UNIQUE INDEX receivable_open_key ON receivable_open (network_company_id, line_key);
CREATE UNIQUE INDEX receivable_settled_key ON receivable_settled (network_company_id, line_key);

-- Arrears of a book in their stable order, for either company of a line.
CREATE INDEX receivable_open_by_network ON receivable_open
    (network_company_id, book_id, settlement_account_id, account_month, charge_off_id, line_key);
CREATE INDEX receivable_open_by_retail ON receivable_open
    (retail_company_id, book_id, settlement_account_id, account_month, charge_off_id, line_key);

-- Imported batches. One that is sent again gets the same reply and writes nothing.
CREATE TABLE receivable_batch (
    company_id        text NOT NULL REFERENCES platform.tenant,
    batch_id          text NOT NULL,
    content_hash      bytea NOT NULL CHECK (octet_length(content_hash) = 32),
    lines             bigint NOT NULL CHECK (lines >= 0),
    outstanding_lines bigint NOT NULL CHECK (outstanding_lines BETWEEN 0 AND lines),
    operator_id       text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id        text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id          text NOT NULL DEFAULT platform.actor('trace_id'),
    written_at        timestamptz NOT NULL DEFAULT platform.instant(),
    PRIMARY KEY (company_id, batch_id)
);

-- What the role that serves may do: a line is imported and read, and nothing changes it yet.
GRANT SELECT, INSERT ON receivable, receivable_open, receivable_settled, receivable_batch TO communal_server;
