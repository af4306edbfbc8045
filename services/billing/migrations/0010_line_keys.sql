-- What identifies a line is unique over every line ever billed, open or settled, whatever partition it is in. So an import
-- is checked against its own keys: its cost grows with what comes, and not with what is there.
CREATE TABLE receivable_key (
    network_company_id text NOT NULL,
    line_key           bytea NOT NULL CHECK (octet_length(line_key) = 16),
    PRIMARY KEY (network_company_id, line_key)
);
INSERT INTO receivable_key SELECT network_company_id, line_key FROM receivable;

-- A line cannot come without its key. A payment that moves a line to another partition is no new line, and does not come by
-- here.
CREATE FUNCTION keep_line_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO receivable_key SELECT network_company_id, line_key FROM added;
    RETURN NULL;
END
$$;
CREATE TRIGGER keys AFTER INSERT ON receivable REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION keep_line_keys();
DROP INDEX receivable_open_key;
DROP INDEX receivable_settled_key;

-- The company that imported the line: with the batch it says which import a line came with. And whether anything changed the
-- line since.
ALTER TABLE receivable ADD COLUMN importer_id text, ADD COLUMN touched boolean NOT NULL DEFAULT false;
-- The lines of a batch whose identifier both companies of a line used stay without: they cannot be taken back.
UPDATE receivable r SET importer_id = b.company_id FROM receivable_batch b
WHERE b.batch_id = r.batch_id AND b.company_id IN (r.network_company_id, r.retail_company_id)
  AND NOT EXISTS (SELECT FROM receivable_batch other
                  WHERE other.batch_id = b.batch_id AND other.company_id IN (r.network_company_id, r.retail_company_id)
                    AND other.company_id <> b.company_id);
CREATE INDEX receivable_of_batch ON receivable (importer_id, batch_id);

CREATE FUNCTION touch_line() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.touched := true;
    RETURN NEW;
END
$$;
CREATE TRIGGER touched BEFORE UPDATE ON receivable FOR EACH ROW EXECUTE FUNCTION touch_line();

-- Batches that were imported by mistake and taken back, and by whom. Their identifiers are not used again.
CREATE TABLE receivable_batch_taken_back (
    company_id  text NOT NULL,
    batch_id    text NOT NULL,
    operator_id text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id  text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id    text NOT NULL DEFAULT platform.actor('trace_id'),
    written_at  timestamptz NOT NULL DEFAULT platform.instant(),
    PRIMARY KEY (company_id, batch_id),
    FOREIGN KEY (company_id, batch_id) REFERENCES receivable_batch
);

-- Removes the lines of a batch that is recorded as taken back, but for those that something changed since their import;
-- returns how many. The role that serves can delete lines in no other way. Without hash and merge joins the keys are looked
-- up, whatever the statistics of the tables say.
CREATE FUNCTION take_back_lines(company text, batch text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH gone AS (
        DELETE FROM receivable r USING receivable_batch_taken_back b
        WHERE b.company_id = company AND b.batch_id = batch
          AND r.importer_id = company AND r.batch_id = batch AND NOT r.touched
        RETURNING r.network_company_id, r.line_key),
    keys AS (
        DELETE FROM receivable_key k USING gone
        WHERE k.network_company_id = gone.network_company_id AND k.line_key = gone.line_key
        RETURNING 1)
    SELECT count(*) FROM keys
$$;
REVOKE ALL ON FUNCTION take_back_lines FROM PUBLIC;

-- What the role that serves may do.
GRANT SELECT, INSERT ON receivable_key, receivable_batch_taken_back TO communal_server;
GRANT EXECUTE ON FUNCTION take_back_lines TO communal_server;
