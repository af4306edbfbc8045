-- What a company sets for what it sells at a store of its own: ladder population, season months, adjust ratios, approval
-- ratios. The company is the retail company of the packages, or a network company for its guaranteed ones. The region is
-- that of the store and stands there.

-- Ladder population (阶梯人口增减量): each `increment` persons beyond `base` raise the limits of a ladder by `increase`.
CREATE TABLE ladder_population (
    company_id text NOT NULL REFERENCES platform.tenant,
    store_id   text NOT NULL,
    utility    text NOT NULL CHECK (utility IN ('1', '2', '3', '5')),
    increment  integer NOT NULL CHECK (increment BETWEEN 1 AND 9999),
    base       integer NOT NULL CHECK (base BETWEEN 0 AND 9999),
    -- Negative where limits fall. The bounds keep NaN out.
    increase   numeric(8, 2) NOT NULL CHECK (increase BETWEEN -999999.99 AND 999999.99),
    PRIMARY KEY (company_id, store_id, utility, increment),
    FOREIGN KEY (company_id, store_id) REFERENCES store
);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON ladder_population
    FOR EACH ROW EXECUTE FUNCTION platform.record_change(
        'ladder_population', 'company_id', 'store_id', 'utility', 'increment');

-- Season months (分枯月份): one season a month; a month without one is flat.
CREATE TABLE season_month (
    company_id    text NOT NULL REFERENCES platform.tenant,
    store_id      text NOT NULL,
    utility       text NOT NULL CHECK (utility IN ('1', '2')),
    -- yyyyMM.
    account_month integer NOT NULL CHECK (account_month BETWEEN 190001 AND 999912),
    season        text NOT NULL CHECK (season IN ('1', '2', '3')),
    PRIMARY KEY (company_id, store_id, utility, account_month),
    FOREIGN KEY (company_id, store_id) REFERENCES store
);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON season_month
    FOR EACH ROW EXECUTE FUNCTION platform.record_change(
        'season_month', 'company_id', 'store_id', 'utility', 'account_month');

-- Adjust ratios (力调比例): the reward or penalty of a power factor, for each standard.
CREATE TABLE adjust_ratio (
    company_id         text NOT NULL REFERENCES platform.tenant,
    store_id           text NOT NULL,
    standard           text NOT NULL CHECK (standard IN ('1', '2', '3', '4')),
    power_factor       numeric(8, 4) NOT NULL CHECK (power_factor BETWEEN 0 AND 1),
    direction          text NOT NULL CHECK (direction IN ('1', '2')),
    ratio              numeric(10, 6) NOT NULL CHECK (ratio BETWEEN 0 AND 9999.999999),
    -- The category item of the line; NULL: the main one of the account item.
    category_item      bigint,
    category_utility   text NOT NULL GENERATED ALWAYS AS ('2') STORED,
    category_surcharge text NOT NULL GENERATED ALWAYS AS ('1') STORED,
    -- In force on the days of [start_date, stop_date).
    start_date         date NOT NULL,
    stop_date          date NOT NULL CHECK (stop_date > start_date),
    PRIMARY KEY (company_id, store_id, standard, power_factor, start_date),
    FOREIGN KEY (company_id, store_id) REFERENCES store,
    CONSTRAINT adjust_ratio_category_item
        FOREIGN KEY (company_id, category_utility, category_item, category_surcharge)
        REFERENCES category_item (company_id, utility, category_item, surcharge),
    -- One ratio a day.
    CONSTRAINT adjust_ratio_days_apart EXCLUDE USING gist (
        company_id WITH =, store_id WITH =, standard WITH =, power_factor WITH =,
        daterange(start_date, stop_date) WITH &&)
);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON adjust_ratio
    FOR EACH ROW EXECUTE FUNCTION platform.record_change(
        'adjust_ratio', 'company_id', 'store_id', 'standard', 'power_factor', 'start_date');
CREATE INDEX adjust_ratio_by_category_item ON adjust_ratio (company_id, category_item);

-- Approval ratios (核定最大需量调节比例): how demand beyond the approved demand is billed.
CREATE TABLE approval_ratio (
    company_id          text NOT NULL REFERENCES platform.tenant,
    store_id            text NOT NULL,
    utility             text NOT NULL CHECK (utility IN ('2')),
    over_approval_ratio numeric(8, 4) NOT NULL CHECK (over_approval_ratio BETWEEN 1 AND 9999.9999),
    approval_factor     numeric(8, 4) NOT NULL CHECK (approval_factor BETWEEN 1 AND 9999.9999),
    PRIMARY KEY (company_id, store_id, utility),
    FOREIGN KEY (company_id, store_id) REFERENCES store
);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON approval_ratio
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('approval_ratio', 'company_id', 'store_id', 'utility');

-- What the role that serves may do: everything; the change log keeps what was.
GRANT SELECT, INSERT, UPDATE, DELETE ON ladder_population, season_month, adjust_ratio, approval_ratio TO communal_server;
