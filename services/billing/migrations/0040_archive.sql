-- The archive (归档): what a company keeps of its customers. Everything belongs to the company that added it. A coded
-- column holds the documented code (codes.proto); NULL is "not given", and so is '' in a text.
--
-- Identifiers are made of a letter a kind and fifteen digits, from 500000000000000 on. Smaller ones are for those that
-- a company brings along when it moves in.

-- A text as it is compared: whatever its width, case and spacing.
CREATE FUNCTION folded(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN lower(regexp_replace(normalize($1, NFKC), '\s+', '', 'g'));

CREATE SEQUENCE book_number AS bigint MINVALUE 500000000000000 MAXVALUE 999999999999999;
CREATE SEQUENCE customer_number AS bigint MINVALUE 500000000000000 MAXVALUE 999999999999999;
CREATE SEQUENCE user_account_number AS bigint MINVALUE 500000000000000 MAXVALUE 999999999999999;
CREATE SEQUENCE meter_number AS bigint MINVALUE 500000000000000 MAXVALUE 999999999999999;

-- Books (抄表区段).
CREATE TABLE book (
    company_id      text NOT NULL REFERENCES platform.tenant,
    book_id         text NOT NULL DEFAULT 'B' || nextval('book_number') CHECK (book_id <> ''),
    store_id        text NOT NULL,
    utility         text NOT NULL CHECK (utility IN ('1', '2', '3', '4', '5', '6', '7')),
    read            text NOT NULL CHECK (read IN ('1', '2')),
    read_period     text CHECK (read_period IN ('1', '2', '3')),
    name            text NOT NULL CHECK (name <> ''),
    manager_id      text NOT NULL,
    meter_reader_id text NOT NULL,
    PRIMARY KEY (company_id, book_id),
    FOREIGN KEY (company_id, store_id) REFERENCES store
);
-- Clients find what they added by its name.
CREATE UNIQUE INDEX book_name ON book (company_id, store_id, utility, folded(name));
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON book
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('book', 'company_id', 'book_id');

-- Customers (客户). Numbers that identify a person are encrypted, bound to the company and customer; the certificate has
-- a keyed hash beside it, by which it is found. A forgotten customer has no personal data.
CREATE TABLE customer (
    company_id          text NOT NULL REFERENCES platform.tenant,
    customer_id         text NOT NULL DEFAULT 'K' || nextval('customer_number') CHECK (customer_id <> ''),
    kind                text NOT NULL CHECK (kind IN ('1', '2')),
    certificate_kind    text NOT NULL CHECK (certificate_kind IN ('1', '2')),
    certificate_sealed  bytea,
    certificate_hash    bytea CHECK (octet_length(certificate_hash) = 32),
    name                text NOT NULL,
    phone               text NOT NULL,
    -- Argon2id, '' for none.
    password_hash       text NOT NULL,
    region              text NOT NULL,
    address             text NOT NULL,
    tax_number_sealed   bytea,
    telephone           text NOT NULL,
    bank_account_sealed bytea,
    bank_name           text NOT NULL,
    email               text NOT NULL,
    attestation         text NOT NULL CHECK (attestation IN ('1', '2', '3')),
    forgotten_at        timestamptz,
    PRIMARY KEY (company_id, customer_id),
    CONSTRAINT customer_known_or_forgotten CHECK (CASE WHEN forgotten_at IS NULL
        THEN certificate_sealed IS NOT NULL AND certificate_hash IS NOT NULL AND name <> ''
        ELSE certificate_sealed IS NULL AND certificate_hash IS NULL AND tax_number_sealed IS NULL
            AND bank_account_sealed IS NULL AND name || phone || password_hash || region || address || telephone
            || bank_name || email = '' END)
);
-- A certificate has one customer.
CREATE UNIQUE INDEX customer_certificate ON customer (company_id, certificate_hash, certificate_kind);
CREATE INDEX customer_phone ON customer (company_id, phone);
CREATE INDEX customer_name ON customer (company_id, folded(name));
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON customer
    FOR EACH ROW EXECUTE FUNCTION platform.record_personal_change('customer', 'company_id', 'customer_id',
        'certificate_sealed certificate_hash name phone password_hash region address tax_number_sealed telephone bank_account_sealed bank_name email');

-- Codes that prove a phone. Phone and code are keyed hashes.
CREATE TABLE verify_code (
    company_id text NOT NULL REFERENCES platform.tenant,
    phone_hash bytea NOT NULL CHECK (octet_length(phone_hash) = 32),
    code_hash  bytea NOT NULL CHECK (octet_length(code_hash) = 32),
    expires_at timestamptz NOT NULL,
    tries_left integer NOT NULL CHECK (tries_left BETWEEN 0 AND 5),
    PRIMARY KEY (company_id, phone_hash)
);

-- User accounts (用户账户): places of use.
CREATE TABLE user_account (
    company_id        text NOT NULL,
    user_account_id   text NOT NULL DEFAULT 'D' || nextval('user_account_number') CHECK (user_account_id <> ''),
    customer_id       text NOT NULL,
    using_customer_id text NOT NULL,
    name              text NOT NULL,
    region            text NOT NULL,
    address           text NOT NULL,
    map_name          text NOT NULL,
    longitude         numeric(16, 8) NOT NULL CHECK (longitude BETWEEN -99999999.99999999 AND 99999999.99999999),
    latitude          numeric(16, 8) NOT NULL CHECK (latitude BETWEEN -99999999.99999999 AND 99999999.99999999),
    resident          text NOT NULL CHECK (resident IN ('1', '2')),
    attestation       text NOT NULL CHECK (attestation IN ('1', '2', '3')),
    risk_balance      numeric(16, 2) NOT NULL CHECK (risk_balance BETWEEN -99999999999999.99 AND 99999999999999.99),
    margin_balance    numeric(16, 2) NOT NULL CHECK (margin_balance BETWEEN -99999999999999.99 AND 99999999999999.99),
    advance_limit     numeric(16, 2) NOT NULL CHECK (advance_limit BETWEEN -99999999999999.99 AND 99999999999999.99),
    -- True from its first settlement account on.
    connected         boolean NOT NULL DEFAULT false,
    PRIMARY KEY (company_id, user_account_id),
    FOREIGN KEY (company_id, customer_id) REFERENCES customer,
    FOREIGN KEY (company_id, using_customer_id) REFERENCES customer
);
-- Clients find what they added by customer, name and address. A forgotten customer's have neither.
CREATE UNIQUE INDEX user_account_place ON user_account (company_id, customer_id, folded(name), folded(address))
    WHERE address <> '';
CREATE INDEX user_account_customer ON user_account (company_id, customer_id);
CREATE INDEX user_account_using ON user_account (company_id, using_customer_id);
-- Addresses are searched from their beginning, byte by byte.
CREATE INDEX user_account_address ON user_account (company_id, folded(address) COLLATE "C");
CREATE INDEX user_account_unconnected ON user_account (company_id, user_account_id) WHERE NOT connected;
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON user_account
    FOR EACH ROW EXECUTE FUNCTION platform.record_personal_change('user_account', 'company_id',
        'user_account_id', 'name region address map_name longitude latitude');

-- Meters (计量仪表).
CREATE TABLE meter (
    company_id     text NOT NULL REFERENCES platform.tenant,
    meter_id       text NOT NULL DEFAULT 'M' || nextval('meter_number') CHECK (meter_id <> ''),
    store_id       text NOT NULL,
    factory_number text NOT NULL CHECK (factory_number <> ''),
    utility        text NOT NULL CHECK (utility IN ('1', '2', '3', '4', '5', '6', '7')),
    kind           text NOT NULL CHECK (kind IN ('1', '2', '3', '4', '5', '6', '7', '8')),
    digits         integer CHECK (digits BETWEEN 1 AND 10),
    multiplier     numeric(12, 2) NOT NULL CHECK (multiplier > 0 AND multiplier <= 9999999999.99),
    quantity_unit  text NOT NULL,
    -- Where it is installed; NULL in the store room.
    settlement_account_id text,
    location       text NOT NULL DEFAULT '',
    read_channel   text CHECK (read_channel IN ('1', '2', '3')),
    remote         text CHECK (remote IN ('1', '2')),
    reading_order  integer NOT NULL DEFAULT 0 CHECK (reading_order BETWEEN 0 AND 9999),
    PRIMARY KEY (company_id, meter_id),
    FOREIGN KEY (company_id, store_id) REFERENCES store,
    -- A meter has digits, a transformer none.
    CONSTRAINT meter_has_digits CHECK ((digits IS NULL) = (kind IN ('7', '8'))),
    CONSTRAINT meter_transformer_apart CHECK (kind NOT IN ('7', '8') OR settlement_account_id IS NULL)
);
CREATE UNIQUE INDEX meter_factory_number ON meter (company_id, folded(factory_number));
-- An account has one meter.
CREATE UNIQUE INDEX meter_of_account ON meter (company_id, settlement_account_id);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON meter
    FOR EACH ROW EXECUTE FUNCTION platform.record_personal_change('meter', 'company_id', 'meter_id', 'location');

-- What the role that serves may do.
GRANT SELECT, INSERT, UPDATE, DELETE ON book, verify_code, meter TO communal_server;
GRANT SELECT, INSERT, UPDATE ON customer, user_account TO communal_server;
GRANT USAGE ON SEQUENCE book_number, customer_number, user_account_number, meter_number TO communal_server;
