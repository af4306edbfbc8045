-- Statistics while an archive moves in. A vacuum that comes meanwhile, after an import that was refused for example, sees
-- none of the rows that are not committed yet, and notes that their tables are large and empty. To the planner all
-- indexes of an empty table are equal then, and a foreign key that takes another one than the primary key reads the whole
-- table for each row. So the import has its own rows counted where nothing is known of them, by its own transaction, which
-- sees them; no vacuum of these tables comes until it ends.
CREATE FUNCTION count_brought_rows() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    brought regclass;
BEGIN
    FOR brought IN
        SELECT c.oid FROM pg_class c
        WHERE c.oid = ANY(ARRAY['customer', 'user_account', 'settlement_account', 'meter_point', 'meter',
                                'account_register', 'boundary_reading']::regclass[])
            AND c.reltuples <= 0 AND pg_relation_size(c.oid) > 0
    LOOP
        -- If a vacuum is at work, the next call comes after it.
        EXECUTE format('ANALYZE (SKIP_LOCKED) %s', brought);
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION count_brought_rows FROM PUBLIC;
GRANT EXECUTE ON FUNCTION count_brought_rows TO communal_server;
