-- Registers that came with an archive, like the rows of 0048: what the import of a batch does to them is no change.
DROP TRIGGER history ON account_register;
CREATE TRIGGER history AFTER INSERT OR UPDATE OF meter_id ON account_register FOR EACH ROW
    WHEN (NEW.batch_id IS NULL OR NEW.batch_id IS DISTINCT FROM imported_batch())
    EXECUTE FUNCTION platform.record_change('account_register', 'company_id', 'settlement_account_id', 'flow', 'register');
CREATE TRIGGER history_of_deleted AFTER DELETE ON account_register FOR EACH ROW
    EXECUTE FUNCTION platform.record_change('account_register', 'company_id', 'settlement_account_id', 'flow', 'register');
