-- Delivery prices (配送价) of a network company, in versions.
CREATE TABLE delivery_price (
    company_id      text NOT NULL REFERENCES platform.tenant,
    price_id        bigint GENERATED ALWAYS AS IDENTITY,
    account_item    text NOT NULL,
    utility         text NOT NULL CHECK (utility IN ('1', '2', '3', '4', '5', '6', '7')),
    kind            text NOT NULL CHECK (kind IN ('1', '2')),
    -- Opaque codes; '' is every power range.
    delivery_grade  text NOT NULL CHECK (delivery_grade <> ''),
    power_range     text NOT NULL,
    time_of_use     text NOT NULL CHECK (time_of_use IN ('1', '2', '3', '4', '5')),
    period          text NOT NULL CHECK (period IN ('1', '2', '3', '4', '5', '6')),
    ladder          text NOT NULL CHECK (ladder IN ('1', '2', '3')),
    tiers           text NOT NULL CHECK (tiers IN ('1', '2', '3', '4', '5')),
    tier            text NOT NULL CHECK (tier IN ('1', '2', '3', '4', '5')),
    -- NULL is every season.
    season          text CHECK (season IN ('1', '2', '3')),
    -- The upper bound keeps NaN out.
    price           numeric(14, 6) NOT NULL CHECK (price >= 0 AND price <= 99999999.999999),
    price_unit      text NOT NULL,
    -- The tier covers (lower_limit, upper_limit]; upper 0: without end.
    lower_limit     bigint NOT NULL CHECK (lower_limit BETWEEN 0 AND 9999999999),
    upper_limit     bigint NOT NULL CHECK (upper_limit BETWEEN 0 AND 9999999999),
    loss_rate       numeric(12, 2) CHECK (loss_rate >= 0 AND loss_rate <= 9999999999.99),
    fee_kind        text NOT NULL CHECK (fee_kind IN ('1', '2')),
    agreement_price text CHECK (agreement_price IN ('1', '2')),
    -- In force on the days of [start_date, stop_date); no stop_date: open.
    start_date      date NOT NULL,
    stop_date       date,
    -- True once a bill has used the version: what it was on days before does not change any more. Charge-off sets it.
    billed          boolean NOT NULL DEFAULT false,
    -- The one-digit codes that all rows of a tariff share, and the position of a row among them.
    shape           text COLLATE "C" NOT NULL GENERATED ALWAYS AS (
        time_of_use || ladder || tiers || CASE WHEN season IS NULL THEN '1' ELSE '2' END) STORED,
    position        text COLLATE "C" NOT NULL GENERATED ALWAYS AS (coalesce(season, '0') || period || tier) STORED,
    PRIMARY KEY (company_id, price_id),
    CONSTRAINT delivery_price_account_item FOREIGN KEY (company_id, account_item, utility)
        REFERENCES account_item (company_id, account_item, utility),
    CONSTRAINT delivery_price_ladder CHECK ((ladder = '1') = (tiers = '1') AND tier <= tiers),
    CONSTRAINT delivery_price_tier CHECK (upper_limit = 0 OR lower_limit < upper_limit),
    CONSTRAINT delivery_price_span CHECK (stop_date >= start_date),
    -- No two versions of one price are in force on the same day.
    CONSTRAINT delivery_price_versions_apart EXCLUDE USING gist (
        company_id WITH =, account_item WITH =, kind WITH =, delivery_grade WITH =, power_range WITH =,
        position WITH =, daterange(start_date, stop_date) WITH &&),
    -- And on no day has a tariff two shapes: a quantity has one price.
    CONSTRAINT delivery_price_one_shape EXCLUDE USING gist (
        company_id WITH =, account_item WITH =, kind WITH =, delivery_grade WITH =, power_range WITH =,
        shape WITH <>, daterange(start_date, stop_date) WITH &&)
);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON delivery_price
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('delivery_price', 'company_id', 'price_id');
CREATE INDEX delivery_price_by_item ON delivery_price
    (company_id, account_item, kind, delivery_grade, power_range, position, start_date);

-- What the role that serves may do: a price is closed, and never deleted.
GRANT SELECT, INSERT, UPDATE ON delivery_price TO communal_server;
