-- Indexes whose first column tells rows apart. While an archive moves in, its tables have no statistics, and an index
-- that begins with the company looks as good as the primary key for a row of that company: each foreign key then read
-- all its rows. With the company last no such index can be taken for it.
DROP INDEX customer_phone, customer_name, user_account_customer, user_account_using, user_account_address,
    settlement_account_user, settlement_account_using, meter_factory_number, meter_of_account;
CREATE INDEX customer_phone ON customer (phone, company_id);
CREATE INDEX customer_name ON customer (folded(name), company_id);
CREATE INDEX user_account_customer ON user_account (customer_id, company_id);
CREATE INDEX user_account_using ON user_account (using_customer_id, company_id);
-- Addresses are searched from their beginning, byte by byte.
CREATE INDEX user_account_address ON user_account (folded(address) COLLATE "C", company_id);
CREATE INDEX settlement_account_user ON settlement_account (user_account_id, company_id);
CREATE INDEX settlement_account_using ON settlement_account (using_customer_id, company_id);
CREATE UNIQUE INDEX meter_factory_number ON meter (folded(factory_number), company_id);
-- An account has one meter.
CREATE UNIQUE INDEX meter_of_account ON meter (settlement_account_id, company_id);
