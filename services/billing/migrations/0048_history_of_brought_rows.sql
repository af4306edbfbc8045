-- A row that came with an archive is its own first image (docs/adr/0023-rows-that-were-brought-along.md): the change log begins
-- with the first change after its import, and `batch_id` leads to who brought it. An import announces its batch to the transaction,
-- as it announces its actor, and archive_batch has both.

-- The batch that the transaction imports; NULL in every other one.
CREATE FUNCTION imported_batch() RETURNS text LANGUAGE sql STABLE
    RETURN nullif(current_setting('communal.batch_id', true), '');

ALTER TABLE customer ADD COLUMN batch_id text;
ALTER TABLE user_account ADD COLUMN batch_id text;
ALTER TABLE settlement_account ADD COLUMN batch_id text;
ALTER TABLE meter_point ADD COLUMN batch_id text;
ALTER TABLE meter ADD COLUMN batch_id text;
ALTER TABLE account_register ADD COLUMN batch_id text;
ALTER TABLE customer ALTER COLUMN batch_id SET DEFAULT imported_batch();
ALTER TABLE user_account ALTER COLUMN batch_id SET DEFAULT imported_batch();
ALTER TABLE settlement_account ALTER COLUMN batch_id SET DEFAULT imported_batch();
ALTER TABLE meter_point ALTER COLUMN batch_id SET DEFAULT imported_batch();
ALTER TABLE meter ALTER COLUMN batch_id SET DEFAULT imported_batch();
ALTER TABLE account_register ALTER COLUMN batch_id SET DEFAULT imported_batch();

-- Whatever the import of a batch does to the rows of that batch is no change. Registers follow in 0085, because the trigger of theirs
-- changes in between.
DROP TRIGGER history ON customer;
DROP TRIGGER history ON user_account;
DROP TRIGGER history ON settlement_account;
DROP TRIGGER history ON meter_point;
DROP TRIGGER history ON meter;

CREATE TRIGGER history AFTER INSERT OR UPDATE ON customer FOR EACH ROW
    WHEN (NEW.batch_id IS NULL OR NEW.batch_id IS DISTINCT FROM imported_batch())
    EXECUTE FUNCTION platform.record_personal_change('customer', 'company_id', 'customer_id',
        'certificate_sealed certificate_hash name phone password_hash region address tax_number_sealed telephone bank_account_sealed bank_name email');
CREATE TRIGGER history_of_deleted AFTER DELETE ON customer FOR EACH ROW
    EXECUTE FUNCTION platform.record_personal_change('customer', 'company_id', 'customer_id',
        'certificate_sealed certificate_hash name phone password_hash region address tax_number_sealed telephone bank_account_sealed bank_name email');

CREATE TRIGGER history AFTER INSERT OR UPDATE ON user_account FOR EACH ROW
    WHEN (NEW.batch_id IS NULL OR NEW.batch_id IS DISTINCT FROM imported_batch())
    EXECUTE FUNCTION platform.record_personal_change('user_account', 'company_id',
        'user_account_id', 'name region address map_name longitude latitude');
CREATE TRIGGER history_of_deleted AFTER DELETE ON user_account FOR EACH ROW
    EXECUTE FUNCTION platform.record_personal_change('user_account', 'company_id',
        'user_account_id', 'name region address map_name longitude latitude');

CREATE TRIGGER history AFTER INSERT OR UPDATE ON settlement_account FOR EACH ROW
    WHEN (NEW.batch_id IS NULL OR NEW.batch_id IS DISTINCT FROM imported_batch())
    EXECUTE FUNCTION platform.record_personal_change('settlement_account', 'company_id',
        'settlement_account_id', 'name address remark contract_number');
CREATE TRIGGER history_of_deleted AFTER DELETE ON settlement_account FOR EACH ROW
    EXECUTE FUNCTION platform.record_personal_change('settlement_account', 'company_id',
        'settlement_account_id', 'name address remark contract_number');

CREATE TRIGGER history AFTER INSERT OR UPDATE ON meter_point FOR EACH ROW
    WHEN (NEW.batch_id IS NULL OR NEW.batch_id IS DISTINCT FROM imported_batch())
    EXECUTE FUNCTION platform.record_personal_change('meter_point', 'company_id', 'settlement_account_id', 'address');
CREATE TRIGGER history_of_deleted AFTER DELETE ON meter_point FOR EACH ROW
    EXECUTE FUNCTION platform.record_personal_change('meter_point', 'company_id', 'settlement_account_id', 'address');

CREATE TRIGGER history AFTER INSERT OR UPDATE ON meter FOR EACH ROW
    WHEN (NEW.batch_id IS NULL OR NEW.batch_id IS DISTINCT FROM imported_batch())
    EXECUTE FUNCTION platform.record_personal_change('meter', 'company_id', 'meter_id', 'location');
CREATE TRIGGER history_of_deleted AFTER DELETE ON meter FOR EACH ROW
    EXECUTE FUNCTION platform.record_personal_change('meter', 'company_id', 'meter_id', 'location');
