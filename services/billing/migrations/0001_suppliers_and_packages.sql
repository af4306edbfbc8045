-- Stores, packages and their prices. Coded columns hold the number of the code in the
-- contract (codes.proto); 0 is "not given". Every table leads with the company it belongs to.
CREATE EXTENSION IF NOT EXISTS btree_gist;

-- Stores (营业网点). The company itself is a tenant of the platform schema.
CREATE TABLE supplier_store (
    company_id  text NOT NULL REFERENCES platform.tenant,
    store_id    text NOT NULL CHECK (store_id <> ''),
    name        text NOT NULL,
    operator_id text NOT NULL,
    channel_id  text NOT NULL,
    trace_id    text NOT NULL,
    written_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (company_id, store_id)
);

-- Where the numbers of packages come from; they are `P` and fifteen digits.
CREATE SEQUENCE sales_package_number AS bigint MAXVALUE 999999999999999;

-- Retail packages (零售套餐).
CREATE TABLE sales_package (
    retail_company_id   text NOT NULL REFERENCES platform.tenant,
    package_id          text NOT NULL CHECK (package_id ~ '^P[0-9]{15}$'),
    network_company_id  text NOT NULL REFERENCES platform.tenant,
    retail_store_id     text NOT NULL,
    package_kind        smallint NOT NULL CHECK (package_kind BETWEEN 1 AND 3),
    supply_kind         smallint NOT NULL CHECK (supply_kind BETWEEN 1 AND 3),
    name                text NOT NULL CHECK (name <> ''),
    remark              text NOT NULL,
    account_item        text NOT NULL CHECK (account_item <> ''),
    utility             smallint NOT NULL CHECK (utility BETWEEN 1 AND 7),
    resident            smallint NOT NULL CHECK (resident BETWEEN 1 AND 2),
    deviation           smallint NOT NULL CHECK (deviation BETWEEN 0 AND 2),
    seasonal            smallint NOT NULL CHECK (seasonal BETWEEN 0 AND 2),
    agreement_price     smallint NOT NULL CHECK (agreement_price BETWEEN 1 AND 2),
    heat_basis          smallint NOT NULL CHECK (heat_basis BETWEEN 0 AND 4),
    property_basis      smallint NOT NULL CHECK (property_basis BETWEEN 0 AND 2),
    basic_fee_kind      smallint NOT NULL CHECK (basic_fee_kind BETWEEN 0 AND 3),
    time_of_use         smallint NOT NULL CHECK (time_of_use BETWEEN 1 AND 5),
    ladder              smallint NOT NULL CHECK (ladder BETWEEN 1 AND 3),
    ladder_tiers        smallint NOT NULL CHECK (ladder_tiers BETWEEN 0 AND 5),
    population          integer NOT NULL CHECK (population BETWEEN 0 AND 9999),
    may_cancel          smallint NOT NULL CHECK (may_cancel BETWEEN 0 AND 2),
    property_grade      text NOT NULL,
    retail_level        text NOT NULL,
    delivery_price_kind smallint NOT NULL CHECK (delivery_price_kind BETWEEN 0 AND 2),
    by_power            smallint NOT NULL CHECK (by_power BETWEEN 0 AND 2),
    power_range         text NOT NULL,
    delivery_level      text NOT NULL,
    voltage             smallint NOT NULL CHECK (voltage BETWEEN 0 AND 9),
    -- 1 draft, 2 submitted, 5 on sale, 6 cancelled.
    state               smallint NOT NULL CHECK (state IN (1, 2, 5, 6)),
    -- In force on the days of [start_date, stop_date); no stop_date: without end. A draft
    -- may plan them, putting on sale decides them.
    start_date          date,
    stop_date           date,
    -- Counts the writes to the package and its prices: a plan made from a reading is carried
    -- out only if nothing was written in between.
    version             bigint NOT NULL DEFAULT 1,
    created_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (retail_company_id, package_id),
    FOREIGN KEY (retail_company_id, retail_store_id) REFERENCES supplier_store,
    CONSTRAINT sales_package_span CHECK (stop_date >= start_date),
    CONSTRAINT sales_package_on_sale_has_start CHECK (state <> 5 OR start_date IS NOT NULL),
    -- A ladder has at least two tiers, and an agreed price has no ladder.
    CONSTRAINT sales_package_ladder CHECK (CASE WHEN ladder = 1 THEN ladder_tiers <= 1 ELSE ladder_tiers >= 2 END),
    CONSTRAINT sales_package_agreement CHECK (agreement_price = 1 OR ladder = 1)
);

-- Clients find what they added by its name, so the name is a key while the package lives.
CREATE UNIQUE INDEX sales_package_live_name ON sales_package (retail_company_id, name) WHERE state <> 6;

-- Who did what to a package, and when. Append-only.
CREATE TABLE sales_package_event (
    retail_company_id text NOT NULL,
    package_id        text NOT NULL,
    version           bigint NOT NULL,
    step              text NOT NULL,
    -- Price rows written by the step.
    price_rows        integer NOT NULL CHECK (price_rows >= 0),
    operator_id       text NOT NULL,
    channel_id        text NOT NULL,
    trace_id          text NOT NULL,
    written_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (retail_company_id, package_id, version),
    FOREIGN KEY (retail_company_id, package_id) REFERENCES sales_package
);

-- Prices of packages (零售套餐价格): every version of every row. A row is known by its package
-- and nine dimensions; eight of them are one-digit codes and make up `dimensions`.
CREATE TABLE sales_price (
    retail_company_id text NOT NULL,
    package_id        text NOT NULL,
    price_id          bigint GENERATED ALWAYS AS IDENTITY,
    account_item      text NOT NULL CHECK (account_item <> ''),
    agreement_price   smallint NOT NULL CHECK (agreement_price BETWEEN 1 AND 2),
    season            smallint NOT NULL CHECK (season BETWEEN 1 AND 3),
    heat_basis        smallint NOT NULL CHECK (heat_basis BETWEEN 0 AND 4),
    property_basis    smallint NOT NULL CHECK (property_basis BETWEEN 0 AND 2),
    time_of_use       smallint NOT NULL CHECK (time_of_use BETWEEN 1 AND 5),
    period            smallint NOT NULL CHECK (period BETWEEN 1 AND 6),
    ladder            smallint NOT NULL CHECK (ladder BETWEEN 1 AND 3),
    tier              smallint NOT NULL CHECK (tier BETWEEN 1 AND 5),
    dimensions        integer NOT NULL GENERATED ALWAYS AS (
        agreement_price * 10000000 + season * 1000000 + heat_basis * 100000 + property_basis * 10000
        + time_of_use * 1000 + period * 100 + ladder * 10 + tier) STORED,
    -- The upper bound keeps NaN out.
    price             numeric(14, 6) NOT NULL CHECK (price >= 0 AND price <= 99999999.999999),
    price_unit        text NOT NULL,
    -- The tier covers (lower_limit, upper_limit]; upper 0: without end.
    lower_limit       bigint NOT NULL CHECK (lower_limit BETWEEN 0 AND 9999999999),
    upper_limit       bigint NOT NULL CHECK (upper_limit BETWEEN 0 AND 9999999999),
    -- In force on the days of [start_date, stop_date); no start_date: draft, no stop_date: open.
    start_date        date,
    stop_date         date,
    operator_id       text NOT NULL,
    channel_id        text NOT NULL,
    trace_id          text NOT NULL,
    written_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (retail_company_id, package_id, price_id),
    FOREIGN KEY (retail_company_id, package_id) REFERENCES sales_package,
    CONSTRAINT sales_price_tier CHECK (upper_limit = 0 OR lower_limit < upper_limit),
    CONSTRAINT sales_price_span CHECK (stop_date >= start_date AND (stop_date IS NULL OR start_date IS NOT NULL)),
    -- Whatever the code does: no two versions of one row are ever in force on the same day.
    CONSTRAINT sales_price_versions_apart EXCLUDE USING gist (
        retail_company_id WITH =, package_id WITH =, account_item WITH =, dimensions WITH =,
        daterange(start_date, stop_date) WITH &&)
);

-- And no two versions of one row are open.
CREATE UNIQUE INDEX sales_price_one_open
    ON sales_price (retail_company_id, package_id, account_item, dimensions) WHERE stop_date IS NULL;
