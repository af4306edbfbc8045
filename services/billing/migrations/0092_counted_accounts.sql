-- How many settlement accounts a company has of a utility. The sum of a utility's rows counts: as with `calculated_points`,
-- each transaction adds a row of its own and merges those that no other transaction holds, so that nobody waits for a
-- counter.
CREATE TABLE counted_accounts (
    company_id text NOT NULL,
    utility    text NOT NULL,
    tally_id   bigint GENERATED ALWAYS AS IDENTITY,
    accounts   bigint NOT NULL,
    PRIMARY KEY (company_id, utility, tally_id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);

-- The accounts count themselves, whoever adds them: a statement is counted once.
CREATE FUNCTION count_settlement_accounts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    WITH change AS (
        SELECT company_id, utility, CASE TG_OP WHEN 'INSERT' THEN count(*) ELSE -count(*) END AS accounts
        FROM changed_rows
        GROUP BY company_id, utility),
    free AS (
        SELECT t.company_id, t.utility, t.tally_id
        FROM change JOIN counted_accounts t USING (company_id, utility)
        FOR UPDATE OF t SKIP LOCKED),
    merged AS (
        DELETE FROM counted_accounts t USING free f
        WHERE t.company_id = f.company_id AND t.utility = f.utility AND t.tally_id = f.tally_id
        RETURNING t.company_id, t.utility, t.accounts)
    INSERT INTO counted_accounts (company_id, utility, accounts)
    SELECT company_id, utility, sum(a.accounts)
    FROM (SELECT company_id, utility, accounts FROM change
          UNION ALL SELECT company_id, utility, accounts FROM merged) AS a
    GROUP BY company_id, utility
    HAVING sum(a.accounts) <> 0;
    RETURN NULL;
END
$$;
CREATE TRIGGER count_inserted AFTER INSERT ON settlement_account REFERENCING NEW TABLE AS changed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_settlement_accounts();
CREATE TRIGGER count_deleted AFTER DELETE ON settlement_account REFERENCING OLD TABLE AS changed_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_settlement_accounts();

CREATE FUNCTION uncount_settlement_accounts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM counted_accounts;
    RETURN NULL;
END
$$;
CREATE TRIGGER count_truncated AFTER TRUNCATE ON settlement_account
    FOR EACH STATEMENT EXECUTE FUNCTION uncount_settlement_accounts();

-- An account keeps its utility, and so the count of it.
CREATE FUNCTION keep_utility() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'settlement account % keeps its utility', OLD.settlement_account_id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'settlement_account_utility_kept', TABLE = 'settlement_account';
END
$$;
CREATE TRIGGER utility_kept BEFORE UPDATE OF utility ON settlement_account
    FOR EACH ROW WHEN (NEW.utility <> OLD.utility) EXECUTE FUNCTION keep_utility();

-- Accounts that are there already.
INSERT INTO counted_accounts (company_id, utility, accounts)
SELECT company_id, utility, count(*) FROM settlement_account GROUP BY company_id, utility;

-- What the role that serves may do: read the counts, which keep themselves.
GRANT SELECT ON counted_accounts TO communal_server;
