-- Metering (计量): billing points (计费点), and what follows from each: its readings, its calculation. A phase is a row; the row
-- that is not there was not reached. Rows of a month stand together, so that the tables are partitioned by account month:
-- a month is only inserted into, and can be detached.

-- Makes the partitions of an account month, of every table that is partitioned by `account_month`; those that exist stay.
-- A partition is made apart and attached then, which stops nobody who reads or writes other months.
CREATE FUNCTION open_account_month(month integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whole text;
    part  text;
BEGIN
    FOR whole IN
        SELECT c.relname FROM pg_partitioned_table p
        JOIN pg_class c ON c.oid = p.partrelid AND c.relnamespace = 'public'::regnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
        WHERE p.partstrat = 'r' AND p.partnatts = 1 AND a.attname = 'account_month'
        ORDER BY c.relname
    LOOP
        part := whole || '_' || month;
        CONTINUE WHEN EXISTS (SELECT FROM pg_class WHERE relname = part AND relnamespace = 'public'::regnamespace);
        -- Of two companies that open the month at once, one makes the partition. The other asks the table again: what is
        -- cached of the catalogue does not notice the lock.
        PERFORM pg_advisory_xact_lock(hashtextextended(part, 4));
        CONTINUE WHEN EXISTS (SELECT FROM pg_class WHERE relname = part AND relnamespace = 'public'::regnamespace);
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, whole);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', whole, part, month, month + 1);
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION open_account_month FROM PUBLIC;

-- Whoever opens an account month has its partitions.
CREATE FUNCTION open_month_of_control() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM open_account_month(NEW.account_month);
    RETURN NULL;
END
$$;
CREATE TRIGGER partitions AFTER INSERT ON month_control FOR EACH ROW WHEN (NEW.kind = 'account')
    EXECUTE FUNCTION open_month_of_control();

-- Billing points: what an account is billed by in an account month, as it was when the point was made. `snapshot` is an
-- encoded Snapshot (metering/points/snapshot.rs); nothing personal is in it. A NORMAL point has number 0, retro
-- points of a month are counted from 1. There are no foreign keys: attaching a partition would lock the tables they lead to;
-- every point comes with a row of point_open, which has one.
CREATE TABLE billing_point (
    company_id            text NOT NULL,
    settlement_account_id text NOT NULL,
    -- yyyyMM.
    account_month         integer NOT NULL CHECK (account_month BETWEEN 190001 AND 999912),
    kind                  text NOT NULL CHECK (kind IN ('1', '2')),
    number                integer NOT NULL,
    -- Made after the account was closed: the last one.
    final                 boolean NOT NULL,
    snapshot              bytea NOT NULL,
    operator_id           text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id            text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id              text NOT NULL DEFAULT platform.actor('trace_id'),
    written_at            timestamptz NOT NULL DEFAULT platform.instant(),
    PRIMARY KEY (company_id, settlement_account_id, account_month, kind, number),
    CONSTRAINT billing_point_number CHECK (CASE kind WHEN '1' THEN number = 0 ELSE number > 0 END)
) PARTITION BY RANGE (account_month);
-- A point that was replaced, moved to the next month or discarded stays in the change log.
CREATE TRIGGER history AFTER UPDATE OR DELETE ON billing_point
    FOR EACH ROW EXECUTE FUNCTION platform.record_change(
        'billing_point', 'company_id', 'settlement_account_id', 'account_month', 'kind', 'number');

-- The readings of a point: one row for all registers of its meter. `readings` is an encoded Readings (metering/readings/
-- stored.rs).
CREATE TABLE point_reading (
    company_id            text NOT NULL,
    settlement_account_id text NOT NULL,
    account_month         integer NOT NULL CHECK (account_month BETWEEN 190001 AND 999912),
    kind                  text NOT NULL CHECK (kind IN ('1')),
    number                integer NOT NULL CHECK (number = 0),
    meter_id              text NOT NULL,
    -- How many registers are read, and whether those are all that run forward.
    registers             integer NOT NULL CHECK (registers BETWEEN 1 AND 16),
    complete              boolean NOT NULL,
    readings              bytea NOT NULL,
    operator_id           text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id            text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id              text NOT NULL DEFAULT platform.actor('trace_id'),
    written_at            timestamptz NOT NULL DEFAULT platform.instant(),
    PRIMARY KEY (company_id, settlement_account_id, account_month, kind, number)
) PARTITION BY RANGE (account_month);
CREATE TRIGGER history AFTER UPDATE OR DELETE ON point_reading
    FOR EACH ROW EXECUTE FUNCTION platform.record_change(
        'point_reading', 'company_id', 'settlement_account_id', 'account_month', 'kind', 'number');

-- The calculation of a point that waits for its charge-off. It is discarded when its point or a reading changes.
CREATE TABLE point_calculation (
    company_id            text NOT NULL,
    settlement_account_id text NOT NULL,
    account_month         integer NOT NULL CHECK (account_month BETWEEN 190001 AND 999912),
    kind                  text NOT NULL CHECK (kind IN ('1', '2')),
    number                integer NOT NULL,
    calculation           bytea NOT NULL,
    operator_id           text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id            text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id              text NOT NULL DEFAULT platform.actor('trace_id'),
    written_at            timestamptz NOT NULL DEFAULT platform.instant(),
    PRIMARY KEY (company_id, settlement_account_id, account_month, kind, number)
) PARTITION BY RANGE (account_month);

-- The points that are not charged off: of an account one NORMAL and one retro point at most. Charge-off deletes the row, so
-- that a point without one is charged off. What is asked of a book is answered from here.
CREATE TABLE point_open (
    company_id            text NOT NULL,
    settlement_account_id text NOT NULL,
    kind                  text NOT NULL CHECK (kind IN ('1', '2')),
    account_month         integer NOT NULL CHECK (account_month BETWEEN 190001 AND 999912),
    number                integer NOT NULL,
    book_id               text NOT NULL,
    -- NULL without a meter.
    meter_id              text,
    reading_order         integer NOT NULL CHECK (reading_order BETWEEN 0 AND 9999),
    -- Registers that are read, in both directions.
    registers             integer NOT NULL CHECK (registers BETWEEN 0 AND 16),
    -- The meter or the customer changed since the point was made, which has to be made again.
    outdated              boolean NOT NULL DEFAULT false,
    PRIMARY KEY (company_id, settlement_account_id, kind),
    FOREIGN KEY (company_id, settlement_account_id) REFERENCES settlement_account,
    CONSTRAINT point_open_number CHECK (CASE kind WHEN '1' THEN number = 0 ELSE number > 0 END)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX point_open_book ON point_open (company_id, book_id, settlement_account_id);

-- Notes that the meter or the customer of a locked account changed; a book is read by the meters that are there now. The
-- calculation is discarded; so are readings, if they are of a meter that was taken off. The archive calls it, so that it
-- need not know how points are stored.
CREATE FUNCTION outdate_point(company_id text, settlement_account_id text, meter_gone boolean)
    RETURNS void LANGUAGE sql
BEGIN ATOMIC
    UPDATE point_open o
    SET outdated = true, meter_id = m.meter_id, reading_order = coalesce(m.reading_order, 0), registers = (
            SELECT count(*) FROM account_register r
            WHERE r.company_id = $1 AND r.settlement_account_id = $2 AND r.meter_id = m.meter_id)
    FROM settlement_account a
        LEFT JOIN meter m ON m.company_id = a.company_id AND m.settlement_account_id = a.settlement_account_id
    WHERE a.company_id = $1 AND a.settlement_account_id = $2
        AND o.company_id = $1 AND o.settlement_account_id = $2 AND o.kind = '1';
    DELETE FROM point_calculation c USING point_open o
    WHERE o.company_id = $1 AND o.settlement_account_id = $2 AND o.kind = '1'
        AND c.company_id = o.company_id AND c.settlement_account_id = o.settlement_account_id
        AND c.account_month = o.account_month AND c.kind = o.kind AND c.number = o.number;
    DELETE FROM point_reading r USING point_open o
    WHERE $3 AND o.company_id = $1 AND o.settlement_account_id = $2 AND o.kind = '1'
        AND r.company_id = o.company_id AND r.settlement_account_id = o.settlement_account_id
        AND r.account_month = o.account_month AND r.kind = o.kind AND r.number = o.number;
END;

-- What a register measured in the bills since it came to the account, and in how many days: its daily average. And the time
-- of its last reading, HHmmss. Charge-off moves them.
ALTER TABLE account_register
    ADD COLUMN last_read_time  integer NOT NULL DEFAULT 0 CHECK (last_read_time BETWEEN 0 AND 235959),
    ADD COLUMN billed_days     integer NOT NULL DEFAULT 0 CHECK (billed_days >= 0),
    ADD COLUMN metered_total   numeric(16, 2) NOT NULL DEFAULT 0
        CHECK (metered_total BETWEEN -99999999999999.99 AND 99999999999999.99),
    ADD COLUMN billed_total    numeric(16, 2) NOT NULL DEFAULT 0
        CHECK (billed_total BETWEEN -99999999999999.99 AND 99999999999999.99);

-- Months that are open already.
SELECT open_account_month(account_month)
FROM (SELECT DISTINCT account_month FROM month_control WHERE kind = 'account') AS months;

-- What the role that serves may do.
GRANT SELECT, INSERT, UPDATE, DELETE ON billing_point, point_reading, point_calculation, point_open TO communal_server;
