-- Calculations (费用计算) of points that are not charged off: which there are, and how many of them in a book.

-- The fee lines of the point's calculation; 0: it is not calculated. Every calculation has a line.
ALTER TABLE point_open ADD COLUMN lines integer NOT NULL DEFAULT 0 CHECK (lines >= 0);
CREATE INDEX point_open_calculated ON point_open (company_id, book_id, settlement_account_id, kind) WHERE lines > 0;

-- How many calculated points a book has, with their registers and lines. The sum of a book's rows counts: each transaction
-- adds a row of its own and merges those that no other transaction holds, so that nobody waits for a counter.
CREATE TABLE calculated_points (
    company_id text NOT NULL,
    book_id    text NOT NULL,
    tally_id   bigint GENERATED ALWAYS AS IDENTITY,
    points     bigint NOT NULL,
    registers  bigint NOT NULL,
    lines      bigint NOT NULL,
    PRIMARY KEY (company_id, book_id, tally_id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

-- Adds to the counts of books. A book of which nothing is calculated has no row.
CREATE FUNCTION count_calculated_points(
    companies text[], books text[], points bigint[], registers bigint[], lines bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
    WITH change AS (
        SELECT c.company_id, c.book_id, sum(c.points) AS points, sum(c.registers) AS registers, sum(c.lines) AS lines
        FROM unnest($1, $2, $3, $4, $5) AS c (company_id, book_id, points, registers, lines)
        GROUP BY c.company_id, c.book_id
        HAVING sum(c.points) <> 0 OR sum(c.registers) <> 0 OR sum(c.lines) <> 0),
    free AS (
        SELECT t.company_id, t.book_id, t.tally_id
        FROM change JOIN calculated_points t USING (company_id, book_id)
        FOR UPDATE OF t SKIP LOCKED),
    merged AS (
        DELETE FROM calculated_points t USING free f
        WHERE t.company_id = f.company_id AND t.book_id = f.book_id AND t.tally_id = f.tally_id
        RETURNING t.company_id, t.book_id, t.points, t.registers, t.lines)
    INSERT INTO calculated_points (company_id, book_id, points, registers, lines)
    SELECT company_id, book_id, sum(a.points), sum(a.registers), sum(a.lines)
    FROM (SELECT company_id, book_id, points, registers, lines FROM change
          UNION ALL SELECT company_id, book_id, points, registers, lines FROM merged) AS a
    GROUP BY company_id, book_id
    HAVING sum(a.points) <> 0 OR sum(a.registers) <> 0 OR sum(a.lines) <> 0;
END;
REVOKE ALL ON FUNCTION count_calculated_points FROM PUBLIC;

-- The open points count themselves, whoever calculates, discards, makes again or charges off: a statement is counted once.
CREATE FUNCTION count_opened_points() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM count_calculated_points(array_agg(company_id), array_agg(book_id), array_agg(1::bigint),
        array_agg(registers::bigint), array_agg(lines::bigint))
    FROM new_rows WHERE lines > 0 HAVING count(*) > 0;
    RETURN NULL;
END
$$;
CREATE FUNCTION count_closed_points() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM count_calculated_points(array_agg(company_id), array_agg(book_id), array_agg(-1::bigint),
        array_agg(-registers::bigint), array_agg(-lines::bigint))
    FROM old_rows WHERE lines > 0 HAVING count(*) > 0;
    RETURN NULL;
END
$$;
CREATE FUNCTION count_changed_points() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM count_calculated_points(array_agg(company_id), array_agg(book_id), array_agg(points), array_agg(registers),
        array_agg(lines))
    FROM (SELECT company_id, book_id, 1::bigint AS points, registers::bigint, lines::bigint FROM new_rows WHERE lines > 0
          UNION ALL
          SELECT company_id, book_id, -1::bigint, -registers::bigint, -lines::bigint FROM old_rows WHERE lines > 0) AS c
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;
CREATE TRIGGER count_inserted AFTER INSERT ON point_open REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_opened_points();
CREATE TRIGGER count_deleted AFTER DELETE ON point_open REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_closed_points();
CREATE TRIGGER count_updated AFTER UPDATE ON point_open REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_changed_points();

-- A calculation that is discarded is not counted any more; otherwise as before.
CREATE OR REPLACE FUNCTION outdate_point(company_id text, settlement_account_id text, meter_gone boolean)
    RETURNS void LANGUAGE sql
BEGIN ATOMIC
    UPDATE point_open o
    SET outdated = true, lines = 0, meter_id = m.meter_id, reading_order = coalesce(m.reading_order, 0), registers = (
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

-- What the role that serves may do: read the counts, which keep themselves.
GRANT SELECT ON calculated_points TO communal_server;
