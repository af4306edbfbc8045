-- Rooms, cars and contracts on which fees are charged, with the facts that formulas read.
-- Every table leads with community_id: it is what each query is bound by, and the key by
-- which the data can be spread over servers.
CREATE TABLE payer_object (
    community_id    text NOT NULL CHECK (length(community_id) BETWEEN 1 AND 30),
    payer_obj_id    text NOT NULL CHECK (length(payer_obj_id) BETWEEN 1 AND 30),
    payer_obj_type  text NOT NULL CHECK (payer_obj_type IN ('3333', '6666', '7777', '9999')),
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    -- NULL: not known; a formula that needs it is then an error and not an amount.
    -- The upper bounds keep NaN out, which is larger than every number.
    built_up_area   numeric(12, 2) CHECK (built_up_area BETWEEN 0 AND 9999999999.99),
    room_area       numeric(12, 2) CHECK (room_area BETWEEN 0 AND 9999999999.99),
    fee_coefficient numeric(12, 2) CHECK (fee_coefficient BETWEEN 0 AND 9999999999.99),
    layer           integer NOT NULL CHECK (layer BETWEEN -99 AND 999),
    room_rent       numeric(12, 2) CHECK (room_rent BETWEEN 0 AND 9999999999.99),
    -- Who wrote this version of the row, and when.
    written_at      timestamptz NOT NULL,
    operator_id     text NOT NULL,
    channel_id      text NOT NULL,
    trace_id        text NOT NULL,
    PRIMARY KEY (community_id, payer_obj_id)
);
