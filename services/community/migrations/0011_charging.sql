-- Charging: batches, the owner of a fee on the day of its creation, what formulas keep on the fee, bills, payment
-- lines, and changes of fees and rules.
CREATE SEQUENCE fee_batch_number;

-- What one call created. It can be undone: requested, then decided by somebody else.
CREATE TABLE pay_fee_batch (
    community_id  text NOT NULL CHECK (length(community_id) BETWEEN 1 AND 30),
    batch_id      text NOT NULL CHECK (length(batch_id) BETWEEN 1 AND 30),
    state         text NOT NULL DEFAULT '2006001' CHECK (state IN ('2006001', '2007001', '2008001', '2009001')),
    remark        text NOT NULL DEFAULT '' CHECK (length(remark) <= 200),
    msg           text NOT NULL DEFAULT '' CHECK (length(msg) <= 200),
    -- The operator who asked to undo it.
    applicant_id  text,
    created_at    timestamptz NOT NULL DEFAULT platform.instant(),
    operator_id   text NOT NULL DEFAULT platform.actor('operator_id'),
    operator_name text NOT NULL DEFAULT coalesce(platform.actor('operator_name'), ''),
    channel_id    text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id      text NOT NULL DEFAULT platform.actor('trace_id'),
    PRIMARY KEY (community_id, batch_id),
    CONSTRAINT pay_fee_batch_applicant CHECK (state = '2006001' OR applicant_id IS NOT NULL)
);
CREATE TRIGGER history AFTER UPDATE OR DELETE ON pay_fee_batch
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('fee_batch', 'community_id', 'batch_id');

ALTER TABLE pay_fee_rule
    ADD batch_id   text,
    -- The amount of formulas 4004 and 8008.
    ADD amount     numeric(16, 4) CHECK (amount BETWEEN 0 AND 999999999999.9999),
    -- May stand beside another rule of the same object, item and start. Rules from before this column may.
    ADD repeatable boolean NOT NULL DEFAULT true,
    ADD deleted_at timestamptz,
    ADD FOREIGN KEY (community_id, batch_id) REFERENCES pay_fee_batch;
ALTER TABLE pay_fee_rule ALTER repeatable SET DEFAULT false;
CREATE UNIQUE INDEX pay_fee_rule_once ON pay_fee_rule (community_id, config_id, payer_obj_id, start_time, epoch)
    WHERE state <> '2009001' AND deleted_at IS NULL AND NOT repeatable;
CREATE INDEX pay_fee_rule_batch ON pay_fee_rule (community_id, batch_id) WHERE batch_id IS NOT NULL;
-- A cursor that a run moves is no change: the bills say it.
CREATE TRIGGER history AFTER UPDATE OF state, max_time, deleted_at OR DELETE ON pay_fee_rule
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('bill_rule', 'community_id', 'rule_id');

ALTER TABLE pay_fee
    ADD batch_id        text,
    -- The owner and the name of the payer object on the day of creation.
    ADD owner_id        text,
    ADD owner_name      text NOT NULL DEFAULT '',
    ADD owner_tel       text NOT NULL DEFAULT '',
    ADD payer_name      text NOT NULL DEFAULT '',
    -- The amount of formulas 4004, 6006 and 8008.
    ADD amount          numeric(16, 4) CHECK (amount BETWEEN 0 AND 999999999999.9999),
    -- The escalation of formula 1102.
    ADD rate_cycle      smallint CHECK (rate_cycle BETWEEN 1 AND 999),
    ADD rate            numeric(8, 4) CHECK (rate BETWEEN 0 AND 9999.9999),
    ADD rate_start_time date,
    -- What payments brought beyond the days that they cover.
    ADD credit          numeric(16, 4) NOT NULL DEFAULT 0 CHECK (credit BETWEEN 0 AND 999999999999.9999),
    -- The reading that made the fee; NULL: the latest of the object and item.
    ADD reading_id      text,
    -- A bill: one span of a rule, from start_time to the day before bill_until.
    ADD rule_id         text,
    ADD bill_until      date,
    -- What was owed when it was ended by hand, and is not owed any more.
    ADD waived          numeric(16, 4) CHECK (waived BETWEEN 0 AND 999999999999.9999),
    -- May stand beside another fee of the same object, item and start. Fees from before this column may.
    ADD repeatable      boolean NOT NULL DEFAULT true,
    ADD deleted_at      timestamptz,
    ADD FOREIGN KEY (community_id, batch_id) REFERENCES pay_fee_batch,
    ADD FOREIGN KEY (community_id, rule_id) REFERENCES pay_fee_rule,
    ADD FOREIGN KEY (community_id, reading_id) REFERENCES meter_reading,
    ADD CONSTRAINT pay_fee_escalation CHECK (num_nonnulls(rate_cycle, rate, rate_start_time) IN (0, 3)),
    ADD CONSTRAINT pay_fee_bill CHECK ((rule_id IS NULL) = (bill_until IS NULL) AND start_time::date < bill_until);
ALTER TABLE pay_fee ALTER repeatable SET DEFAULT false;
-- The same charge stands once: the second of two that arrive at once fails here.
CREATE UNIQUE INDEX pay_fee_once ON pay_fee (community_id, config_id, payer_obj_id, start_time, epoch)
    WHERE state <> '2009001' AND deleted_at IS NULL AND rule_id IS NULL AND NOT repeatable;
-- No span of a rule is billed twice.
CREATE UNIQUE INDEX pay_fee_bill_once ON pay_fee (community_id, rule_id, start_time)
    WHERE rule_id IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX pay_fee_owner ON pay_fee (community_id, owner_id, fee_id) WHERE owner_id IS NOT NULL;
CREATE INDEX pay_fee_batch_fees ON pay_fee (community_id, batch_id) WHERE batch_id IS NOT NULL;
CREATE TRIGGER history AFTER UPDATE OR DELETE ON pay_fee
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('fee', 'community_id', 'fee_id');

-- Payment lines (缴费明细): the days that a payment covers. Payments will add what was received for them.
CREATE TABLE pay_fee_detail (
    community_id text NOT NULL,
    detail_id    text NOT NULL CHECK (length(detail_id) BETWEEN 1 AND 30),
    fee_id       text NOT NULL,
    -- 1400, 1000 and 1200 are live: what they cover is paid.
    state        text NOT NULL CHECK (state IN ('1000', '1100', '1200', '1300', '1400', '1500')),
    span_from    date NOT NULL,
    span_until   date NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT platform.instant(),
    operator_id  text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id   text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id     text NOT NULL DEFAULT platform.actor('trace_id'),
    PRIMARY KEY (community_id, detail_id),
    FOREIGN KEY (community_id, fee_id) REFERENCES pay_fee,
    CONSTRAINT pay_fee_detail_span CHECK (span_from <= span_until)
);
CREATE INDEX pay_fee_detail_live ON pay_fee_detail (community_id, fee_id) WHERE state IN ('1400', '1000', '1200');

-- Deleted fees and rules are in no view.
CREATE OR REPLACE VIEW fee AS
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
       -- The limit: the earlier of its own and the item's. A one-off fee keeps its own.
       CASE WHEN coalesce(f.fee_flag, c.fee_flag) = '2006012' THEN coalesce(f.deadline_time, c.end_time)
            ELSE least(f.deadline_time, c.end_time) END                          AS deadline_time,
       -- If both ended it, the fee itself was first: an ended one cannot be ended again.
       coalesce(f.ended_at, k.ended_at)                                          AS ended_at,
       f.batch_id,
       f.owner_id,
       f.owner_name,
       f.owner_tel,
       f.payer_name,
       f.amount,
       f.rate_cycle,
       f.rate,
       f.rate_start_time,
       f.credit,
       f.reading_id,
       f.rule_id,
       r.start_time::date                                                        AS rule_start,
       f.bill_until,
       f.created_at,
       c.fee_type_cd,
       c.fee_name
FROM pay_fee f
JOIN pay_fee_config c ON c.community_id = f.community_id AND c.config_id = f.config_id
LEFT JOIN fee_item_closure k
       ON k.community_id = f.community_id AND k.config_id = f.config_id AND k.closure = f.epoch + 1
LEFT JOIN pay_fee_rule r ON r.community_id = f.community_id AND r.rule_id = f.rule_id
WHERE f.deleted_at IS NULL;

CREATE OR REPLACE VIEW bill_rule AS
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
       least(r.max_time, c.end_time)                                             AS max_time,
       r.cur_year_month,
       coalesce(r.ended_at, k.ended_at)                                          AS ended_at,
       r.batch_id,
       r.amount,
       r.created_at,
       c.fee_type_cd,
       c.end_time                                                                AS item_end
FROM pay_fee_rule r
JOIN pay_fee_config c ON c.community_id = r.community_id AND c.config_id = r.config_id
LEFT JOIN fee_item_closure k
       ON k.community_id = r.community_id AND k.config_id = r.config_id AND k.closure = r.epoch + 1
WHERE r.deleted_at IS NULL;

-- What the role that serves may do: fees and rules change and are marked as deleted; a payment line stays.
GRANT UPDATE ON pay_fee, pay_fee_rule TO communal_server;
GRANT SELECT, INSERT, UPDATE ON pay_fee_batch TO communal_server;
GRANT SELECT, INSERT ON pay_fee_detail TO communal_server;
GRANT USAGE ON SEQUENCE fee_batch_number TO communal_server;
