-- What a release might add: `./dev chaos upgrade` applies it to a schema that serves. It expands
-- and does nothing else, as docs/runbook.md asks of every migration.
ALTER TABLE receivable_line ADD COLUMN disputed_at timestamptz;
ALTER TABLE package ADD COLUMN contract_months smallint NOT NULL DEFAULT 0;
-- Holds for new rows at once; the next one looks at those that are there.
ALTER TABLE package ADD CONSTRAINT package_contract_months
    CHECK (contract_months BETWEEN 0 AND 120) NOT VALID;

CREATE TABLE payment_order (
    company_id text NOT NULL REFERENCES platform.tenant,
    order_id   text NOT NULL,
    amount     numeric(16, 2) NOT NULL CHECK (amount BETWEEN 0 AND 99999999999999.99),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (company_id, order_id)
);
