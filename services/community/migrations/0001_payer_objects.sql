-- Rooms, cars and contracts on which fees are charged, with the facts that formulas read.
-- Every table leads with community_id: each query is bound by it, and by it the data can be
-- spread over servers. Columns of an actor take their values from the transaction
-- (platform.actor); codes are the documented ones.
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
    -- The actor who wrote this version of the row, and when. Thousands of rows arrive at once,
    -- so they are not in the change log.
    written_at      timestamptz NOT NULL DEFAULT platform.instant(),
    operator_id     text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id      text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id        text NOT NULL DEFAULT platform.actor('trace_id'),
    PRIMARY KEY (community_id, payer_obj_id)
);

-- What the role that serves may do.
GRANT SELECT, INSERT, UPDATE ON payer_object TO communal_server;
