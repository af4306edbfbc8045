-- What a release might add: `./dev chaos upgrade` applies it to a schema that serves. It expands
-- and does nothing else, as docs/runbook.md asks of every migration.
ALTER TABLE pay_fee_config ADD COLUMN invoice_title text;
ALTER TABLE platform.answered_request ADD COLUMN gateway_id text NOT NULL DEFAULT '';

CREATE TABLE fee_bill (
    community_id text NOT NULL,
    bill_id      text NOT NULL,
    fee_id       text NOT NULL,
    amount       numeric(12, 2) NOT NULL CHECK (amount BETWEEN 0 AND 9999999999.99),
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (community_id, bill_id),
    FOREIGN KEY (community_id, fee_id) REFERENCES pay_fee
);
