-- Prices of the catalogue (分类项目单价): main, attached and basic-fee prices of a network company, in versions.
CREATE TABLE catalogue_price (
    company_id      text NOT NULL REFERENCES platform.tenant,
    price_id        bigint GENERATED ALWAYS AS IDENTITY,
    part            text NOT NULL CHECK (part IN ('main', 'attached', 'basic_fee')),
    account_item    text NOT NULL,
    utility         text NOT NULL CHECK (utility IN ('1', '2', '3', '4', '5', '6', '7')),
    supply_kind     text NOT NULL CHECK (supply_kind IN ('1', '2', '3')),
    main_item       bigint NOT NULL,
    -- 0 on main and basic-fee prices.
    surcharge_item  bigint NOT NULL,
    -- The codes that a package must equal; on attached prices they are neutral. Opaque codes are '' if not given.
    retail_grade    text NOT NULL,
    property_grade  text NOT NULL,
    heat_basis      text NOT NULL CHECK (heat_basis IN ('1', '2', '3')),
    property_basis  text CHECK (property_basis IN ('1', '2')),
    basic_fee_kind  text NOT NULL CHECK (basic_fee_kind IN ('1', '2', '3')),
    seasonal        text NOT NULL CHECK (seasonal IN ('1', '2')),
    time_of_use     text NOT NULL CHECK (time_of_use IN ('1', '2', '3', '4', '5')),
    ladder          text NOT NULL CHECK (ladder IN ('1', '2', '3')),
    tiers           text NOT NULL CHECK (tiers IN ('1', '2', '3', '4', '5')),
    season          text NOT NULL CHECK (season IN ('1', '2', '3')),
    period          text NOT NULL CHECK (period IN ('1', '2', '3', '4', '5', '6')),
    tier            text NOT NULL CHECK (tier IN ('1', '2', '3', '4', '5')),
    -- The upper bound keeps NaN out.
    price           numeric(14, 6) NOT NULL CHECK (price >= 0 AND price <= 99999999.999999),
    price_unit      text NOT NULL,
    -- The tier covers (lower_limit, upper_limit]; upper 0: without end.
    lower_limit     bigint NOT NULL CHECK (lower_limit BETWEEN 0 AND 9999999999),
    upper_limit     bigint NOT NULL CHECK (upper_limit BETWEEN 0 AND 9999999999),
    -- In force on the days of [start_date, stop_date); no stop_date: open.
    start_date      date NOT NULL,
    stop_date       date,
    -- True once a bill has used the version: what it was on days before does not change any more. Charge-off sets it.
    billed          boolean NOT NULL DEFAULT false,
    -- The one-digit codes of the set, and the position in its matrix.
    class           text COLLATE "C" NOT NULL GENERATED ALWAYS AS (
        utility || supply_kind || heat_basis || coalesce(property_basis, '0') || basic_fee_kind || seasonal || time_of_use
            || ladder || tiers) STORED,
    position        text COLLATE "C" NOT NULL GENERATED ALWAYS AS (season || period || tier) STORED,
    -- The category items that are part of what names the row: those of an attached price.
    attached_to     bigint NOT NULL GENERATED ALWAYS AS (CASE WHEN part = 'attached' THEN main_item ELSE 0 END) STORED,
    -- What a foreign key to the category items names besides their number.
    no_surcharge    text NOT NULL GENERATED ALWAYS AS ('1') STORED,
    a_surcharge     text NOT NULL GENERATED ALWAYS AS ('2') STORED,
    surcharge_key   bigint GENERATED ALWAYS AS (nullif(surcharge_item, 0)) STORED,
    PRIMARY KEY (company_id, price_id),
    FOREIGN KEY (company_id, account_item, utility) REFERENCES account_item (company_id, account_item, utility),
    FOREIGN KEY (company_id, utility, main_item, no_surcharge)
        REFERENCES category_item (company_id, utility, category_item, surcharge),
    FOREIGN KEY (company_id, utility, surcharge_key, a_surcharge)
        REFERENCES category_item (company_id, utility, category_item, surcharge),
    CONSTRAINT catalogue_price_surcharge CHECK ((part = 'attached') = (surcharge_item > 0) AND surcharge_item >= 0),
    CONSTRAINT catalogue_price_basic_fee CHECK (part <> 'basic_fee' OR basic_fee_kind <> '1'),
    CONSTRAINT catalogue_price_ladder CHECK ((ladder = '1') = (tiers = '1') AND tier <= tiers),
    CONSTRAINT catalogue_price_tier CHECK (upper_limit = 0 OR lower_limit < upper_limit),
    CONSTRAINT catalogue_price_span CHECK (stop_date >= start_date),
    -- No two versions of one row are in force on the same day.
    CONSTRAINT catalogue_price_versions_apart EXCLUDE USING gist (
        company_id WITH =, part WITH =, account_item WITH =, class WITH =, retail_grade WITH =, property_grade WITH =,
        position WITH =, attached_to WITH =, surcharge_item WITH =, daterange(start_date, stop_date) WITH &&),
    -- And on no day has one set of codes two main items.
    CONSTRAINT catalogue_price_one_main_item EXCLUDE USING gist (
        company_id WITH =, account_item WITH =, class WITH =, retail_grade WITH =, property_grade WITH =,
        main_item WITH <>, daterange(start_date, stop_date) WITH &&) WHERE (part = 'main')
);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON catalogue_price
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('catalogue_price', 'company_id', 'price_id');
CREATE INDEX catalogue_price_by_item ON catalogue_price (company_id, part, account_item);
CREATE INDEX catalogue_price_by_utility ON catalogue_price (company_id, part, utility, account_item);

-- What the role that serves may do: a price is closed, and never deleted.
GRANT SELECT, INSERT, UPDATE ON catalogue_price TO communal_server;
