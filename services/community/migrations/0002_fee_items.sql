-- Fee items (费用项): what a community charges for, at what price and by what formula.
-- Times without zone are times of the configured business zone; instants are UTC.
CREATE SEQUENCE fee_item_number;

CREATE TABLE pay_fee_config (
    community_id           text NOT NULL CHECK (length(community_id) BETWEEN 1 AND 30),
    config_id              text NOT NULL CHECK (length(config_id) BETWEEN 1 AND 30),
    fee_type_cd            text NOT NULL CHECK (fee_type_cd IN (
        '888800010000', '888800010001', '888800010002', '888800010003', '888800010004', '888800010005',
        '888800010006', '888800010007', '888800010008', '888800010009', '888800010011', '888800010012',
        '888800010013', '888800010014', '888800010015', '888800010016', '888800010017', '888800010018')),
    fee_name               text NOT NULL CHECK (length(fee_name) BETWEEN 1 AND 100),
    fee_flag               text NOT NULL CHECK (fee_flag IN ('1003006', '2006012', '4012024')),
    start_time             timestamp NOT NULL,
    -- The last second of validity.
    end_time               timestamp NOT NULL,
    computing_formula      text NOT NULL CHECK (computing_formula IN (
        '1001', '2002', '3003', '4004', '5005', '6006', '7007', '8008', '9009', '1101', '1102', '9999')),
    -- Always a formula that parses, whatever the code is: a later change to 7007 may rely on it.
    computing_formula_text text CHECK (length(computing_formula_text) BETWEEN 1 AND 500),
    -- The upper bounds keep NaN out, which is larger than every number.
    square_price           numeric(12, 4) NOT NULL CHECK (square_price BETWEEN 0 AND 99999999.9999),
    additional_amount      numeric(12, 4) NOT NULL CHECK (additional_amount BETWEEN 0 AND 99999999.9999),
    -- T: the item came with the system. Calls make ordinary ones.
    is_default             text NOT NULL DEFAULT 'F' CHECK (is_default IN ('T', 'F')),
    bill_type              text NOT NULL CHECK (bill_type IN ('001', '002', '003', '004', '005')),
    payment_cd             text NOT NULL CHECK (payment_cd IN ('1200', '2100')),
    payment_cycle          smallint NOT NULL CHECK (payment_cycle BETWEEN 1 AND 999),
    deduct_from            text NOT NULL CHECK (deduct_from IN ('Y', 'N')),
    pay_online             text NOT NULL CHECK (pay_online IN ('Y', 'N')),
    scale                  text NOT NULL CHECK (scale IN ('1', '3', '4')),
    decimal_place          text NOT NULL CHECK (decimal_place IN ('0', '1', '2', '3', '4')),
    units                  text NOT NULL CHECK (length(units) BETWEEN 1 AND 12),
    prepayment_period      smallint CHECK (prepayment_period BETWEEN 0 AND 9999),
    -- N: in use; NA: stopped.
    state                  text NOT NULL CHECK (state IN ('N', 'NA')),
    -- How often the item was stopped while in use. A fee or bill rule keeps the count at its
    -- creation and is ended once the item's count is larger: so stopping an item ends any
    -- number of them by writing this one row, and reopening it revives none.
    closures               integer NOT NULL DEFAULT 0 CHECK (closures >= 0),
    created_at             timestamptz NOT NULL DEFAULT platform.instant(),
    deleted_at             timestamptz,
    PRIMARY KEY (community_id, config_id),
    CONSTRAINT pay_fee_config_validity CHECK (start_time <= end_time),
    CONSTRAINT pay_fee_config_custom_formula CHECK (computing_formula <> '7007' OR computing_formula_text IS NOT NULL)
) WITH (fillfactor = 80);

-- A name is taken by a live item only; the second of two that arrive at once fails here.
CREATE UNIQUE INDEX pay_fee_config_live_name ON pay_fee_config (community_id, fee_name) WHERE deleted_at IS NULL;

-- Lists: newest first.
CREATE INDEX pay_fee_config_live_newest ON pay_fee_config (community_id, created_at DESC, config_id DESC)
    WHERE deleted_at IS NULL;

-- The change history (费用项修改记录) is read from the log.
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON pay_fee_config
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('fee_item', 'community_id', 'config_id');

-- Each stop of an item: its instant and its actor. Append-only.
CREATE TABLE fee_item_closure (
    community_id text NOT NULL,
    config_id    text NOT NULL,
    -- Ends what was created while the item's count was one less.
    closure      integer NOT NULL CHECK (closure > 0),
    ended_at     timestamptz NOT NULL DEFAULT platform.instant(),
    operator_id  text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id   text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id     text NOT NULL DEFAULT platform.actor('trace_id'),
    PRIMARY KEY (community_id, config_id, closure),
    FOREIGN KEY (community_id, config_id) REFERENCES pay_fee_config
);

-- What the role that serves may do: an item is marked as deleted, and a closure stays as it was.
GRANT SELECT, INSERT, UPDATE ON pay_fee_config TO communal_server;
GRANT SELECT, INSERT ON fee_item_closure TO communal_server;
GRANT USAGE ON SEQUENCE fee_item_number TO communal_server;
