-- A receivable line is written once and never changed, in the partition of its account month. What is outstanding of it is a
-- small row of its own, which a payment in full deletes; a closing says what closed it. See
-- docs/adr/0021-lines-are-written-once.md.
ALTER TABLE receivable RENAME TO earlier_receivable;
ALTER TABLE receivable_open RENAME TO earlier_receivable_open;
ALTER TABLE receivable_settled RENAME TO earlier_receivable_settled;
DROP INDEX receivable_open_by_network, receivable_open_by_retail, receivable_open_account;

-- Receivable lines as they were billed. `issued` is an encoded ReceivableLine without the fields that payments change
-- (docs/adr/0003-issued-lines-as-bytes.md). The primary key is the identity of a line: of all lines ever billed or imported,
-- open or closed, there is one with it.
CREATE TABLE receivable_line (
    network_company_id    text NOT NULL,
    settlement_account_id text NOT NULL,
    -- yyyyMM.
    account_month         integer NOT NULL CHECK (account_month BETWEEN 190001 AND 999912),
    charge_off_id         text NOT NULL,
    -- Counted from 1 within a bill. An imported line has a negative number: its identity in the system that billed it, hashed
    -- (receivables/line.rs).
    line_number           bigint NOT NULL,
    retail_company_id     text NOT NULL,
    book_id               text NOT NULL,
    retail_store_id       text NOT NULL,
    -- The documented code of the kind.
    package_kind          text NOT NULL CHECK (package_kind IN ('1', '2', '3')),
    charge_off_date       date NOT NULL,
    -- Day from which the late-payment penalty counted at first.
    levy_date             date,
    -- The bounds keep NaN out.
    fee                   numeric(16, 2) NOT NULL CHECK (fee BETWEEN -99999999999999.99 AND 99999999999999.99),
    -- The company that imported the line and the batch that it came with; NULL if it was billed here.
    importer_id           text,
    batch_id              text,
    issued                bytea NOT NULL,
    operator_id           text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id            text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id              text NOT NULL DEFAULT platform.actor('trace_id'),
    written_at            timestamptz NOT NULL DEFAULT platform.instant(),
    PRIMARY KEY (network_company_id, settlement_account_id, account_month, charge_off_id, line_number),
    CONSTRAINT receivable_line_number CHECK (CASE WHEN batch_id IS NULL THEN line_number > 0 ELSE line_number < 0 END)
) PARTITION BY RANGE (account_month);
CREATE INDEX receivable_line_of_batch ON receivable_line (importer_id, batch_id) WHERE importer_id IS NOT NULL;

-- Lines that are outstanding. Bytes as billed are here as well, so that arrears are read from this table alone.
CREATE TABLE receivable_open (
    network_company_id    text NOT NULL,
    book_id               text NOT NULL,
    settlement_account_id text NOT NULL,
    account_month         integer NOT NULL,
    charge_off_id         text NOT NULL,
    line_number           bigint NOT NULL,
    retail_company_id     text NOT NULL,
    retail_store_id       text NOT NULL,
    package_kind          text NOT NULL CHECK (package_kind IN ('1', '2', '3')),
    fee                   numeric(16, 2) NOT NULL CHECK (fee BETWEEN -99999999999999.99 AND 99999999999999.99),
    paid_total            numeric(16, 2) NOT NULL DEFAULT 0
                          CHECK (paid_total BETWEEN -99999999999999.99 AND 99999999999999.99),
    -- The latest payment and the one before; NULL if there was none.
    latest_paid           numeric(16, 2) CHECK (latest_paid BETWEEN -99999999999999.99 AND 99999999999999.99),
    latest_paid_date      date,
    latest_payment_id     text,
    previous_paid_date    date,
    previous_payment_id   text,
    -- Day from which the late-payment penalty counts.
    levy_date             date,
    -- Something changed the line since it was written.
    touched               boolean NOT NULL DEFAULT false,
    issued                bytea NOT NULL,
    -- Arrears of a book in their stable order.
    PRIMARY KEY (network_company_id, book_id, settlement_account_id, account_month, charge_off_id, line_number),
    CONSTRAINT receivable_open_until_paid CHECK (fee <> paid_total),
    -- What is paid has the sign of what is due and is never more.
    CONSTRAINT receivable_open_never_overpaid CHECK (
        CASE WHEN fee >= 0 THEN paid_total >= 0 AND paid_total <= fee ELSE paid_total <= 0 AND paid_total >= fee END)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
-- The same order for the retail company of a line. A line of a network company that sells itself is found by the primary key.
CREATE INDEX receivable_open_by_retail ON receivable_open
    (retail_company_id, book_id, settlement_account_id, account_month, charge_off_id, line_number)
    WHERE retail_company_id <> network_company_id;
-- What an account owes, whatever books it was in. A hash has no order: in that of a B-tree the planner would read arrears.
CREATE INDEX receivable_open_account ON receivable_open USING hash (settlement_account_id);
CREATE TRIGGER touched BEFORE UPDATE ON receivable_open FOR EACH ROW EXECUTE FUNCTION touch_line();

-- What closed a line: the payment that settled it, or nothing but its bill.
CREATE TABLE receivable_closing (
    network_company_id    text NOT NULL,
    settlement_account_id text NOT NULL,
    account_month         integer NOT NULL,
    charge_off_id         text NOT NULL,
    line_number           bigint NOT NULL,
    -- All that was paid: the fee.
    paid_total            numeric(16, 2) NOT NULL CHECK (paid_total BETWEEN -99999999999999.99 AND 99999999999999.99),
    latest_paid           numeric(16, 2) CHECK (latest_paid BETWEEN -99999999999999.99 AND 99999999999999.99),
    latest_paid_date      date,
    latest_payment_id     text,
    previous_paid_date    date,
    previous_payment_id   text,
    -- Day from which the late-payment penalty counted at last.
    levy_date             date,
    -- yyyyMM in which the line was closed.
    settled_month         integer CHECK (settled_month BETWEEN 190001 AND 999912),
    -- The line was closed when it was written: by its bill, or before its import.
    with_line             boolean NOT NULL,
    operator_id           text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id            text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id              text NOT NULL DEFAULT platform.actor('trace_id'),
    written_at            timestamptz NOT NULL DEFAULT platform.instant(),
    PRIMARY KEY (network_company_id, settlement_account_id, account_month, charge_off_id, line_number)
) PARTITION BY RANGE (account_month);

-- Makes the partition of an account month of a table, apart, and attaches it then, which stops nobody who reads or writes other
-- months. Months before 2000 of lines have one partition: they are imported alone, and a batch of an ancient
-- history must not make hundreds.
CREATE FUNCTION open_month_of_table(whole text, month integer) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    ancient boolean := month < 200001 AND whole IN ('receivable_line', 'receivable_closing');
    part    text := whole || CASE WHEN ancient THEN '_before_200001' ELSE '_' || month END;
    bounds  text := CASE WHEN ancient THEN '(MINVALUE) TO (200001)' ELSE format('(%s) TO (%s)', month, month + 1) END;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_class WHERE relname = part AND relnamespace = 'public'::regnamespace) THEN
        -- Of two who open the month at once, one makes the partition. The other asks the table again: what is cached of the
        -- catalogue does not notice the lock.
        PERFORM pg_advisory_xact_lock(hashtextextended(part, 4));
        IF NOT EXISTS (SELECT FROM pg_class WHERE relname = part AND relnamespace = 'public'::regnamespace) THEN
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, whole);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM %s', whole, part, bounds);
        END IF;
    END IF;
    -- A transaction that knows the table from before learns of the partition that another one attached.
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS SHARE MODE', part);
END
$$;
REVOKE ALL ON FUNCTION open_month_of_table FROM PUBLIC;

CREATE OR REPLACE FUNCTION open_account_month(month integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    whole text;
BEGIN
    FOR whole IN
        SELECT c.relname FROM pg_partitioned_table p
        JOIN pg_class c ON c.oid = p.partrelid AND c.relnamespace = 'public'::regnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
        WHERE p.partstrat = 'r' AND p.partnatts = 1 AND a.attname = 'account_month'
        ORDER BY c.relname
    LOOP
        PERFORM open_month_of_table(whole, month);
    END LOOP;
END
$$;

-- Makes the partitions of lines of account months that nobody may have opened: an import brings them.
CREATE FUNCTION open_line_months(months integer[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    month integer;
BEGIN
    FOR month IN SELECT DISTINCT m FROM unnest(months) AS m ORDER BY m LOOP
        IF month NOT BETWEEN 190001 AND 999912 OR month % 100 NOT BETWEEN 1 AND 12 THEN
            RAISE EXCEPTION '% is no account month', month USING ERRCODE = 'check_violation';
        END IF;
        PERFORM open_month_of_table('receivable_closing', month);
        PERFORM open_month_of_table('receivable_line', month);
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION open_line_months FROM PUBLIC;

-- The lines that are there. The number of an imported line is made of its key as line.rs makes it.
SELECT open_account_month(account_month)
FROM (SELECT DISTINCT account_month FROM month_control WHERE kind = 'account') AS months;
SELECT open_line_months(ARRAY(SELECT DISTINCT account_month FROM earlier_receivable));

CREATE FUNCTION pg_temp.number_of(line_key bytea) RETURNS bigint LANGUAGE sql IMMUTABLE
    RETURN ('x' || encode(substr(line_key, 1, 8), 'hex'))::bit(64)::bigint | (1::bigint << 63);
INSERT INTO receivable_line (network_company_id, settlement_account_id, account_month, charge_off_id, line_number,
    retail_company_id, book_id, retail_store_id, package_kind, charge_off_date, levy_date, fee, importer_id, batch_id, issued,
    operator_id, channel_id, trace_id, written_at)
SELECT network_company_id, settlement_account_id, account_month, charge_off_id, pg_temp.number_of(line_key),
    retail_company_id, book_id, retail_store_id, package_kind, charge_off_date, levy_date, fee, importer_id, batch_id, issued,
    operator_id, channel_id, trace_id, written_at
FROM earlier_receivable;
INSERT INTO receivable_open (network_company_id, book_id, settlement_account_id, account_month, charge_off_id, line_number,
    retail_company_id, retail_store_id, package_kind, fee, paid_total, latest_paid, latest_paid_date, latest_payment_id,
    previous_paid_date, previous_payment_id, levy_date, touched, issued)
SELECT network_company_id, book_id, settlement_account_id, account_month, charge_off_id, pg_temp.number_of(line_key),
    retail_company_id, retail_store_id, package_kind, fee, paid_total, latest_paid, latest_paid_date, latest_payment_id,
    previous_paid_date, previous_payment_id, levy_date, touched, issued
FROM earlier_receivable WHERE NOT settled;
INSERT INTO receivable_closing (network_company_id, settlement_account_id, account_month, charge_off_id, line_number, paid_total,
    latest_paid, latest_paid_date, latest_payment_id, previous_paid_date, previous_payment_id, levy_date, settled_month,
    with_line, operator_id, channel_id, trace_id, written_at)
SELECT network_company_id, settlement_account_id, account_month, charge_off_id, pg_temp.number_of(line_key), paid_total,
    latest_paid, latest_paid_date, latest_payment_id, previous_paid_date, previous_payment_id, levy_date, settled_month,
    NOT touched, operator_id, channel_id, trace_id, written_at
FROM earlier_receivable WHERE settled;

-- What settlement accounts of a company owe, those that owe something.
CREATE OR REPLACE FUNCTION outstanding_of_accounts(company_id text, settlement_account_ids text[])
    RETURNS TABLE (settlement_account_id text, outstanding numeric) LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT r.settlement_account_id, sum(r.fee - r.paid_total)
    FROM receivable_open r
    WHERE r.settlement_account_id = ANY($2) AND (r.network_company_id = $1 OR r.retail_company_id = $1)
    GROUP BY r.settlement_account_id;
END;

-- Removes the lines of a batch that is recorded as taken back, but for those that something changed since their import;
-- returns how many. The role that serves can delete lines in no other way. Without scans, hash and merge joins the rows are
-- looked up, whatever the statistics of the tables say.
CREATE OR REPLACE FUNCTION take_back_lines(company text, batch text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
    WITH lines AS (
        SELECT r.network_company_id, r.book_id, r.settlement_account_id, r.account_month, r.charge_off_id, r.line_number
        FROM receivable_line r JOIN receivable_batch_taken_back b ON b.company_id = company AND b.batch_id = batch
        WHERE r.importer_id = company AND r.batch_id = batch),
    opened AS (
        DELETE FROM receivable_open o USING lines l
        WHERE o.network_company_id = l.network_company_id AND o.book_id = l.book_id
          AND o.settlement_account_id = l.settlement_account_id AND o.account_month = l.account_month
          AND o.charge_off_id = l.charge_off_id AND o.line_number = l.line_number AND NOT o.touched
        RETURNING o.network_company_id, o.settlement_account_id, o.account_month, o.charge_off_id, o.line_number),
    closed AS (
        DELETE FROM receivable_closing c USING lines l
        WHERE c.network_company_id = l.network_company_id AND c.settlement_account_id = l.settlement_account_id
          AND c.account_month = l.account_month AND c.charge_off_id = l.charge_off_id AND c.line_number = l.line_number
          AND c.with_line
        RETURNING c.network_company_id, c.settlement_account_id, c.account_month, c.charge_off_id, c.line_number),
    gone AS (
        DELETE FROM receivable_line r USING (SELECT * FROM opened UNION ALL SELECT * FROM closed) AS l
        WHERE r.network_company_id = l.network_company_id AND r.settlement_account_id = l.settlement_account_id
          AND r.account_month = l.account_month AND r.charge_off_id = l.charge_off_id AND r.line_number = l.line_number
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

DROP TABLE earlier_receivable, receivable_key;
DROP FUNCTION keep_line_keys();
ANALYZE receivable_line, receivable_open, receivable_closing;

-- What the role that serves may do: lines and closings stay as they were written, and of an open line changes what payments
-- change.
GRANT SELECT, INSERT ON receivable_line, receivable_closing TO communal_server;
GRANT SELECT, INSERT, DELETE ON receivable_open TO communal_server;
GRANT UPDATE (paid_total, latest_paid, latest_paid_date, latest_payment_id, previous_paid_date, previous_payment_id, levy_date)
    ON receivable_open TO communal_server;
GRANT EXECUTE ON FUNCTION open_line_months TO communal_server;
