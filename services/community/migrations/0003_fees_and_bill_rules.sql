-- Fees (费用): what is charged on a payer object by a fee item.
--
-- Only INSERT may name pay_fee and pay_fee_rule: whether a row is ended, and its fee flag,
-- follow from its item as well, and only the views below know how.
CREATE SEQUENCE fee_number;

CREATE TABLE pay_fee (
    community_id   text NOT NULL,
    fee_id         text NOT NULL,
    config_id      text NOT NULL,
    payer_obj_id   text NOT NULL,
    payer_obj_type text NOT NULL CHECK (payer_obj_type IN ('3333', '6666', '7777', '9999')),
    -- NULL: as the item says, also when the item changes.
    fee_flag       text CHECK (fee_flag IN ('1003006', '2006012', '4012024')),
    -- Of the fee alone: its item may have ended it.
    state          text NOT NULL CHECK (state IN ('2007001', '2008001', '2009001')),
    -- The item's count of closures when the fee was created.
    epoch          integer NOT NULL CHECK (epoch >= 0),
    start_time     timestamp NOT NULL,
    -- Paid through: the start of the next unpaid span.
    end_time       timestamp NOT NULL,
    -- NULL: the end of the item, also when that changes.
    deadline_time  timestamp,
    ended_at       timestamptz,
    created_at     timestamptz NOT NULL DEFAULT platform.instant(),
    operator_id    text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id     text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id       text NOT NULL DEFAULT platform.actor('trace_id'),
    PRIMARY KEY (community_id, fee_id),
    FOREIGN KEY (community_id, config_id) REFERENCES pay_fee_config,
    FOREIGN KEY (community_id, payer_obj_id) REFERENCES payer_object,
    CONSTRAINT pay_fee_span CHECK (start_time <= deadline_time),
    CONSTRAINT pay_fee_ended CHECK ((state = '2009001') = (ended_at IS NOT NULL))
);
CREATE INDEX pay_fee_item ON pay_fee (community_id, config_id, fee_id);
CREATE INDEX pay_fee_payer_object ON pay_fee (community_id, payer_obj_id, fee_id);
CREATE INDEX pay_fee_open ON pay_fee (community_id, config_id, epoch, fee_id) WHERE state <> '2009001';

CREATE VIEW fee AS
SELECT f.community_id,
       f.fee_id,
       f.config_id,
       f.payer_obj_id,
       f.payer_obj_type,
       coalesce(f.fee_flag, c.fee_flag)                                          AS fee_flag,
       CASE WHEN f.epoch < c.closures THEN '2009001' ELSE f.state END            AS state,
       -- The same as state <> '2009001', in a form that an index can answer.
       (f.state <> '2009001' AND f.epoch = c.closures)                           AS is_open,
       -- The state of an open one, as a column of which the planner has statistics.
       f.state                                                                   AS own_state,
       f.epoch,
       f.start_time,
       f.end_time,
       coalesce(f.deadline_time, c.end_time)                                     AS deadline_time,
       -- If both ended it, the fee itself was first: an ended one cannot be ended again.
       coalesce(f.ended_at, k.ended_at)                                          AS ended_at
FROM pay_fee f
JOIN pay_fee_config c ON c.community_id = f.community_id AND c.config_id = f.config_id
LEFT JOIN fee_item_closure k
       ON k.community_id = f.community_id AND k.config_id = f.config_id AND k.closure = f.epoch + 1;

-- Bill rules (出账规则): by them, bills on a payer object are made period by period.
CREATE SEQUENCE bill_rule_number;

CREATE TABLE pay_fee_rule (
    community_id   text NOT NULL,
    rule_id        text NOT NULL,
    config_id      text NOT NULL,
    payer_obj_id   text NOT NULL,
    payer_obj_type text NOT NULL CHECK (payer_obj_type IN ('3333', '6666', '7777', '9999')),
    -- Of the rule alone: its item may have ended it.
    state          text NOT NULL CHECK (state IN ('2007001', '2008001', '2009001')),
    -- The item's count of closures when the rule was created.
    epoch          integer NOT NULL CHECK (epoch >= 0),
    start_time     timestamp NOT NULL,
    -- NULL: the end of the item, also when that changes.
    max_time       timestamp,
    -- Start of the next span to bill.
    cur_year_month date NOT NULL,
    ended_at       timestamptz,
    created_at     timestamptz NOT NULL DEFAULT platform.instant(),
    operator_id    text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id     text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id       text NOT NULL DEFAULT platform.actor('trace_id'),
    PRIMARY KEY (community_id, rule_id),
    FOREIGN KEY (community_id, config_id) REFERENCES pay_fee_config,
    FOREIGN KEY (community_id, payer_obj_id) REFERENCES payer_object,
    CONSTRAINT pay_fee_rule_span CHECK (start_time <= max_time),
    CONSTRAINT pay_fee_rule_ended CHECK ((state = '2009001') = (ended_at IS NOT NULL))
);
CREATE INDEX pay_fee_rule_item ON pay_fee_rule (community_id, config_id, rule_id);
CREATE INDEX pay_fee_rule_open ON pay_fee_rule (community_id, config_id, epoch, rule_id) WHERE state <> '2009001';

CREATE VIEW bill_rule AS
SELECT r.community_id,
       r.rule_id,
       r.config_id,
       r.payer_obj_id,
       r.payer_obj_type,
       -- An item that has rules keeps its flag, so it is the flag of the rules as well.
       c.fee_flag,
       CASE WHEN r.epoch < c.closures THEN '2009001' ELSE r.state END            AS state,
       (r.state <> '2009001' AND r.epoch = c.closures)                           AS is_open,
       r.state                                                                   AS own_state,
       r.epoch,
       r.start_time,
       coalesce(r.max_time, c.end_time)                                          AS max_time,
       r.cur_year_month,
       coalesce(r.ended_at, k.ended_at)                                          AS ended_at
FROM pay_fee_rule r
JOIN pay_fee_config c ON c.community_id = r.community_id AND c.config_id = r.config_id
LEFT JOIN fee_item_closure k
       ON k.community_id = r.community_id AND k.config_id = r.config_id AND k.closure = r.epoch + 1;

-- What the role that serves may do: whether a fee or rule is ended follows from its item, so nothing changes them yet.
GRANT SELECT, INSERT ON pay_fee, pay_fee_rule TO communal_server;
GRANT SELECT ON fee, bill_rule TO communal_server;
GRANT USAGE ON SEQUENCE fee_number, bill_rule_number TO communal_server;
