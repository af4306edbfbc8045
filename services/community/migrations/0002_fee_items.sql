-- Fee items (费用项): what a community charges for, at what price and by what formula.
-- Codes are the documents' canonical ones. Times without zone are times of the configured
-- business zone; instants are UTC.
CREATE SEQUENCE fee_item_number;

CREATE TABLE pay_fee_config (
    community_id           text NOT NULL CHECK (length(community_id) BETWEEN 1 AND 30),
    config_id              text NOT NULL CHECK (length(config_id) BETWEEN 1 AND 30),
    fee_type_cd            text NOT NULL CHECK (length(fee_type_cd) BETWEEN 1 AND 12),
    fee_name               text NOT NULL CHECK (length(fee_name) BETWEEN 1 AND 100),
    fee_flag               text NOT NULL CHECK (fee_flag IN ('1003006', '2006012', '4012024')),
    start_time             timestamp NOT NULL,
    -- The last second of validity.
    end_time               timestamp NOT NULL,
    computing_formula      text NOT NULL CHECK (length(computing_formula) BETWEEN 1 AND 12),
    -- Always a formula that parses, whatever the code is: a later change to 7007 may rely on it.
    computing_formula_text text CHECK (length(computing_formula_text) BETWEEN 1 AND 500),
    -- The upper bounds keep NaN out, which is larger than every number.
    square_price           numeric(12, 4) NOT NULL CHECK (square_price BETWEEN 0 AND 99999999.9999),
    additional_amount      numeric(12, 4) NOT NULL CHECK (additional_amount BETWEEN 0 AND 99999999.9999),
    is_default             boolean NOT NULL,
    bill_type              text NOT NULL CHECK (length(bill_type) BETWEEN 1 AND 12),
    payment_cd             text NOT NULL CHECK (payment_cd IN ('1200', '2100')),
    payment_cycle          smallint NOT NULL CHECK (payment_cycle BETWEEN 1 AND 999),
    deduct_from            boolean NOT NULL,
    pay_online             boolean NOT NULL,
    scale                  text NOT NULL CHECK (scale IN ('1', '3', '4')),
    decimal_place          smallint NOT NULL CHECK (decimal_place BETWEEN 0 AND 4),
    units                  text NOT NULL CHECK (length(units) BETWEEN 1 AND 12),
    prepayment_period      smallint CHECK (prepayment_period BETWEEN 0 AND 9999),
    stopped                boolean NOT NULL,
    -- How often the item was stopped while in use. A fee or bill rule keeps the count at its
    -- creation and is ended once the item's has gone beyond it: so stopping an item ends any
    -- number of them by writing this one row, and reopening it revives none.
    closures               integer NOT NULL DEFAULT 0 CHECK (closures >= 0),
    created_at             timestamptz NOT NULL,
    deleted_at             timestamptz,
    -- Who wrote this version of the row, and when. The versions before are in fee_item_image.
    written_at             timestamptz NOT NULL,
    operator_id            text NOT NULL,
    channel_id             text NOT NULL,
    trace_id               text NOT NULL,
    PRIMARY KEY (community_id, config_id),
    CONSTRAINT pay_fee_config_validity CHECK (start_time <= end_time),
    CONSTRAINT pay_fee_config_custom_formula CHECK (computing_formula <> '7007' OR computing_formula_text IS NOT NULL)
) WITH (fillfactor = 80);

-- A name is taken by a live item only; two that arrive at once meet here.
CREATE UNIQUE INDEX pay_fee_config_live_name ON pay_fee_config (community_id, fee_name) WHERE deleted_at IS NULL;

-- Lists: newest first.
CREATE INDEX pay_fee_config_live_newest ON pay_fee_config (community_id, created_at DESC, config_id DESC)
    WHERE deleted_at IS NULL;

-- When an item was stopped, by whom. Append-only.
CREATE TABLE fee_item_closure (
    community_id text NOT NULL,
    config_id    text NOT NULL,
    -- Ends what was created while the item's count was one less.
    closure      integer NOT NULL CHECK (closure > 0),
    ended_at     timestamptz NOT NULL,
    operator_id  text NOT NULL,
    channel_id   text NOT NULL,
    trace_id     text NOT NULL,
    PRIMARY KEY (community_id, config_id, closure),
    FOREIGN KEY (community_id, config_id) REFERENCES pay_fee_config
);

-- The change history of items: the image before (DEL) and after (ADD) each change.
-- Append-only. Within an item the numbers have the order of the changes, since they are
-- drawn while the item's row is locked.
CREATE SEQUENCE fee_item_change_number;

CREATE TABLE fee_item_image (
    community_id           text NOT NULL,
    change_number          bigint NOT NULL,
    operate                text NOT NULL CHECK (operate IN ('ADD', 'DEL')),
    changed_at             timestamptz NOT NULL,
    operator_id            text NOT NULL,
    operator_name          text NOT NULL,
    channel_id             text NOT NULL,
    trace_id               text NOT NULL,
    config_id              text NOT NULL,
    fee_type_cd            text NOT NULL,
    fee_name               text NOT NULL,
    fee_flag               text NOT NULL,
    start_time             timestamp NOT NULL,
    end_time               timestamp NOT NULL,
    computing_formula      text NOT NULL,
    computing_formula_text text,
    square_price           numeric(12, 4) NOT NULL,
    additional_amount      numeric(12, 4) NOT NULL,
    is_default             boolean NOT NULL,
    bill_type              text NOT NULL,
    payment_cd             text NOT NULL,
    payment_cycle          smallint NOT NULL,
    deduct_from            boolean NOT NULL,
    pay_online             boolean NOT NULL,
    scale                  text NOT NULL,
    decimal_place          smallint NOT NULL,
    units                  text NOT NULL,
    prepayment_period      smallint,
    stopped                boolean NOT NULL,
    deleted                boolean NOT NULL,
    PRIMARY KEY (community_id, change_number, operate)
);
CREATE INDEX fee_item_image_item ON fee_item_image (community_id, config_id, change_number DESC);
