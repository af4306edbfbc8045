-- The parameters of a new connection that is withdrawn go with it: nothing is read, billed or put into a book by them. The change log
-- keeps them. The role that serves still deletes no meter point by itself.
CREATE FUNCTION drop_withdrawn_parameters() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM meter_point WHERE company_id = NEW.company_id AND settlement_account_id = NEW.settlement_account_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER parameters_withdrawn AFTER UPDATE OF state ON settlement_account
    FOR EACH ROW WHEN (NEW.state = '4' AND OLD.state <> '4') EXECUTE FUNCTION drop_withdrawn_parameters();

-- Those of connections that were withdrawn before.
SELECT platform.announce('migration', 'migration', 'migration', 'migration', 'withdrawn_parameters', now());
DELETE FROM meter_point p USING settlement_account a
WHERE a.company_id = p.company_id AND a.settlement_account_id = p.settlement_account_id AND a.state = '4';
