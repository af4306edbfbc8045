-- Runs (批量出账): the accounts of a company, or of a book, are billed for a month in chunks, a transaction each. A chunk is
-- claimed by its row's lock, so that several processes share a run, and one that was killed leaves its chunk to the others.
CREATE TABLE billing_run (
    company_id    text NOT NULL REFERENCES platform.tenant,
    run_id        bigint GENERATED ALWAYS AS IDENTITY,
    account_month integer NOT NULL CHECK (account_month BETWEEN 190001 AND 999912),
    -- Empty for all books.
    book_id       text NOT NULL,
    operator_id   text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id    text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id      text NOT NULL DEFAULT platform.actor('trace_id'),
    written_at    timestamptz NOT NULL DEFAULT platform.instant(),
    PRIMARY KEY (company_id, run_id)
);
CREATE INDEX billing_run_of_month ON billing_run (company_id, account_month, book_id, run_id);

CREATE TABLE run_chunk (
    company_id text NOT NULL,
    run_id     bigint NOT NULL,
    chunk      integer NOT NULL CHECK (chunk > 0),
    -- Its accounts, by book and account, from the first to the last.
    from_book    text NOT NULL,
    from_account text NOT NULL,
    to_book      text NOT NULL,
    to_account   text NOT NULL,
    accounts     integer NOT NULL CHECK (accounts > 0),
    done         boolean NOT NULL DEFAULT false,
    bills        integer NOT NULL DEFAULT 0 CHECK (bills >= 0),
    parked       integer NOT NULL DEFAULT 0 CHECK (parked >= 0),
    -- What the bills add up to, and what available funds paid.
    total        numeric(18, 2) NOT NULL DEFAULT 0 CHECK (total BETWEEN -9999999999999999.99 AND 9999999999999999.99),
    drawn        numeric(18, 2) NOT NULL DEFAULT 0 CHECK (drawn BETWEEN 0 AND 9999999999999999.99),
    PRIMARY KEY (company_id, run_id, chunk),
    FOREIGN KEY (company_id, run_id) REFERENCES billing_run
) WITH (fillfactor = 50);
CREATE INDEX run_chunk_waiting ON run_chunk (company_id, run_id, chunk) WHERE NOT done;

-- Accounts that a run did not bill, and why: the latest run's word. The row goes when the account is billed.
CREATE TABLE parked_account (
    company_id            text NOT NULL,
    account_month         integer NOT NULL CHECK (account_month BETWEEN 190001 AND 999912),
    settlement_account_id text NOT NULL,
    book_id               text NOT NULL,
    -- A reason of the contract, and its words in English and Chinese.
    reason                text NOT NULL CHECK (reason <> ''),
    description           text NOT NULL,
    description_text      text NOT NULL,
    run_id                bigint NOT NULL,
    PRIMARY KEY (company_id, account_month, settlement_account_id),
    FOREIGN KEY (company_id, settlement_account_id) REFERENCES settlement_account
);
CREATE INDEX parked_account_of_book ON parked_account (company_id, account_month, book_id, settlement_account_id);

-- Statistics of the partitions of a month that is being filled. Statements of runs look rows up by whole keys and do not wait
-- for them; what is asked of the month by others does not have to wait for autovacuum.
CREATE FUNCTION analyze_account_month(month integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    part text;
BEGIN
    FOR part IN
        SELECT c.relname FROM pg_inherits i
        JOIN pg_class c ON c.oid = i.inhrelid AND c.relnamespace = 'public'::regnamespace
        WHERE c.relkind = 'r' AND c.relname LIKE '%\_' || month
        ORDER BY c.relname
    LOOP
        EXECUTE format('ANALYZE %I', part);
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION analyze_account_month FROM PUBLIC;

-- What the role that serves may do.
GRANT SELECT, INSERT ON billing_run TO communal_server;
GRANT SELECT, INSERT, UPDATE ON run_chunk TO communal_server;
GRANT SELECT, INSERT, UPDATE, DELETE ON parked_account TO communal_server;
GRANT EXECUTE ON FUNCTION analyze_account_month TO communal_server;
