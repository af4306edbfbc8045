-- Stores, packages and their prices. A coded column holds the documented code (codes.proto); NULL is "not given".
-- Every table leads with the company it belongs to.
CREATE EXTENSION IF NOT EXISTS btree_gist;

-- Stores (营业网点). The company itself is a tenant of the platform schema.
CREATE TABLE store (
    company_id text NOT NULL REFERENCES platform.tenant,
    store_id   text NOT NULL CHECK (store_id <> ''),
    name       text NOT NULL,
    PRIMARY KEY (company_id, store_id)
);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON store
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('store', 'company_id', 'store_id');

-- The numbers of packages: `P` and fifteen digits.
CREATE SEQUENCE package_number AS bigint MAXVALUE 999999999999999;

-- Packages (套餐). The retail company owns them; a guaranteed package is one of the network company, which sells it
-- itself.
CREATE TABLE package (
    retail_company_id    text NOT NULL REFERENCES platform.tenant,
    package_id           text NOT NULL CHECK (package_id ~ '^P[0-9]{15}$'),
    network_company_id   text NOT NULL REFERENCES platform.tenant,
    retail_store_id      text NOT NULL,
    kind                 text NOT NULL CHECK (kind IN ('1', '2', '3')),
    supply_kind          text NOT NULL CHECK (supply_kind IN ('1', '2', '3')),
    name                 text NOT NULL CHECK (name <> ''),
    remark               text NOT NULL,
    account_item         text NOT NULL CHECK (account_item <> ''),
    utility              text NOT NULL CHECK (utility IN ('1', '2', '3', '4', '5', '6', '7')),
    resident             text NOT NULL CHECK (resident IN ('1', '2')),
    deviation            text CHECK (deviation IN ('1', '2')),
    seasonal             text CHECK (seasonal IN ('1', '2')),
    agreement_price      text NOT NULL CHECK (agreement_price IN ('1', '2')),
    heat_basis           text CHECK (heat_basis IN ('1', '2', '3', '4')),
    property_basis       text CHECK (property_basis IN ('1', '2')),
    basic_fee_kind       text CHECK (basic_fee_kind IN ('1', '2', '3')),
    time_of_use          text NOT NULL CHECK (time_of_use IN ('1', '2', '3', '4', '5')),
    ladder               text NOT NULL CHECK (ladder IN ('1', '2', '3')),
    tiers                text CHECK (tiers IN ('1', '2', '3', '4', '5')),
    population           integer NOT NULL CHECK (population BETWEEN 0 AND 9999),
    may_cancel           text CHECK (may_cancel IN ('1', '2')),
    -- Opaque codes, '' if not given.
    property_grade       text NOT NULL,
    retail_voltage_grade text NOT NULL,
    delivery_price_kind  text CHECK (delivery_price_kind IN ('1', '2')),
    by_power             text CHECK (by_power IN ('1', '2')),
    power_range          text NOT NULL,
    delivery_grade       text NOT NULL,
    voltage              text CHECK (voltage IN ('1', '2', '3', '4', '5', '6', '7', '8', '9')),
    -- 1 draft, 2 submitted, 5 on sale, 6 cancelled.
    state                text NOT NULL CHECK (state IN ('1', '2', '5', '6')),
    -- In force on the days of [start_date, stop_date); no stop_date: without end. A draft may plan them, putting on
    -- sale decides them.
    start_date           date,
    stop_date            date,
    -- Counts the writes to the package and its prices.
    version              bigint NOT NULL DEFAULT 1,
    created_at           timestamptz NOT NULL DEFAULT platform.instant(),
    PRIMARY KEY (retail_company_id, package_id),
    FOREIGN KEY (retail_company_id, retail_store_id) REFERENCES store,
    CONSTRAINT package_guaranteed_is_own CHECK (kind = '3' OR retail_company_id = network_company_id),
    CONSTRAINT package_span CHECK (stop_date >= start_date),
    CONSTRAINT package_on_sale_has_start CHECK (state <> '5' OR start_date IS NOT NULL),
    -- A ladder has at least two tiers, and an agreed price has no ladder.
    CONSTRAINT package_ladder CHECK (
        CASE WHEN ladder = '1' THEN coalesce(tiers, '1') = '1' ELSE coalesce(tiers, '1') <> '1' END),
    CONSTRAINT package_agreement CHECK (agreement_price = '1' OR ladder = '1')
);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON package
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('package', 'retail_company_id', 'package_id');

-- Clients find what they added by its name, so the name is a key while the package lives.
CREATE UNIQUE INDEX package_live_name ON package (retail_company_id, name) WHERE state <> '6';

-- Prices of packages (套餐单价): every version of every row. A row is known by its package and nine dimensions; eight of
-- them are one-digit codes and make up `dimensions`. The versions are the history, so there is no trigger; who wrote a
-- version last stands in it.
CREATE TABLE package_price (
    retail_company_id text NOT NULL,
    package_id        text NOT NULL,
    price_id          bigint GENERATED ALWAYS AS IDENTITY,
    account_item      text NOT NULL CHECK (account_item <> ''),
    agreement_price   text NOT NULL CHECK (agreement_price IN ('1', '2')),
    season            text NOT NULL CHECK (season IN ('1', '2', '3')),
    heat_basis        text NOT NULL CHECK (heat_basis IN ('1', '2', '3', '4')),
    property_basis    text CHECK (property_basis IN ('1', '2')),
    time_of_use       text NOT NULL CHECK (time_of_use IN ('1', '2', '3', '4', '5')),
    period            text NOT NULL CHECK (period IN ('1', '2', '3', '4', '5', '6')),
    ladder            text NOT NULL CHECK (ladder IN ('1', '2', '3')),
    tier              text NOT NULL CHECK (tier IN ('1', '2', '3', '4', '5')),
    dimensions        text COLLATE "C" NOT NULL GENERATED ALWAYS AS (
        agreement_price || season || heat_basis || coalesce(property_basis, '0') || time_of_use || period || ladder || tier
    ) STORED,
    -- The upper bound keeps NaN out.
    price             numeric(14, 6) NOT NULL CHECK (price >= 0 AND price <= 99999999.999999),
    price_unit        text NOT NULL,
    -- The tier covers (lower_limit, upper_limit]; upper 0: without end.
    lower_limit       bigint NOT NULL CHECK (lower_limit BETWEEN 0 AND 9999999999),
    upper_limit       bigint NOT NULL CHECK (upper_limit BETWEEN 0 AND 9999999999),
    -- In force on the days of [start_date, stop_date); no start_date: draft, no stop_date: open.
    start_date        date,
    stop_date         date,
    operator_id       text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id        text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id          text NOT NULL DEFAULT platform.actor('trace_id'),
    written_at        timestamptz NOT NULL DEFAULT platform.instant(),
    PRIMARY KEY (retail_company_id, package_id, price_id),
    FOREIGN KEY (retail_company_id, package_id) REFERENCES package,
    CONSTRAINT package_price_tier CHECK (upper_limit = 0 OR lower_limit < upper_limit),
    CONSTRAINT package_price_span CHECK (stop_date >= start_date AND (stop_date IS NULL OR start_date IS NOT NULL)),
    -- No two versions of one row are in force on the same day.
    CONSTRAINT package_price_versions_apart EXCLUDE USING gist (
        retail_company_id WITH =, package_id WITH =, account_item WITH =, dimensions WITH =,
        daterange(start_date, stop_date) WITH &&)
);

-- And no two versions of one row are open.
CREATE UNIQUE INDEX package_price_one_open
    ON package_price (retail_company_id, package_id, account_item, dimensions) WHERE stop_date IS NULL;

-- What the role that serves may do: a package is cancelled and a price closed, and neither is deleted.
GRANT SELECT, INSERT, UPDATE ON store, package, package_price TO communal_server;
GRANT USAGE ON SEQUENCE package_number TO communal_server;
