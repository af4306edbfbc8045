-- Settlement accounts (结算户), their business processes, meter points and registers.

CREATE SEQUENCE settlement_account_number AS bigint MINVALUE 500000000000000 MAXVALUE 999999999999999;
CREATE SEQUENCE business_process_number AS bigint MINVALUE 500000000000000 MAXVALUE 999999999999999;

-- Settlement accounts: a user account's supply with one utility.
CREATE TABLE settlement_account (
    company_id            text NOT NULL,
    settlement_account_id text NOT NULL DEFAULT 'A' || nextval('settlement_account_number')
                          CHECK (settlement_account_id <> ''),
    user_account_id       text NOT NULL,
    using_customer_id     text NOT NULL,
    utility               text NOT NULL CHECK (utility IN ('1', '2', '3', '4', '5', '6', '7')),
    name                  text NOT NULL,
    address               text NOT NULL,
    -- 1 connecting, 2 archived, 3 closed: see lifecycle.rs.
    state                 text NOT NULL DEFAULT '1' CHECK (state IN ('1', '2', '3')),
    -- The latest business process that was completed, or the open one that connects the account.
    business_kind         text NOT NULL CHECK (business_kind IN ('1', '2', '11', '12', '13', '50')),
    attestation           text NOT NULL CHECK (attestation IN ('1', '2', '3')),
    control_kind          text CHECK (control_kind IN ('1', '2')),
    industry_code         text NOT NULL DEFAULT '',
    industry_sector       text CHECK (industry_sector IN ('1', '2', '3')),
    resident              text CHECK (resident IN ('1', '2')),
    urban                 text CHECK (urban IN ('1', '2')),
    military              text CHECK (military IN ('1', '2')),
    temporary             text CHECK (temporary IN ('1', '2')),
    public_use            text CHECK (public_use IN ('1', '2')),
    connection_kind       text CHECK (connection_kind IN ('1', '2', '3', '4', '5')),
    inspection_cycle      integer NOT NULL DEFAULT 0 CHECK (inspection_cycle BETWEEN 0 AND 9999),
    last_inspection_date  date,
    remark                text NOT NULL DEFAULT '',
    contract_signed       text CHECK (contract_signed IN ('1', '2')),
    contract_number       text NOT NULL DEFAULT '',
    contract_end_date     date,
    -- First day of supply, first day without.
    archived_on           date,
    closed_on             date,
    -- Quantities billed so far in the calendar year and account month (yyyyMM) that they are of; they decide the tier.
    year_quantity         numeric(16, 2) NOT NULL DEFAULT 0 CHECK (year_quantity BETWEEN -99999999999999.99 AND 99999999999999.99),
    quantity_year         integer CHECK (quantity_year BETWEEN 1900 AND 9999),
    month_quantity        numeric(16, 2) NOT NULL DEFAULT 0 CHECK (month_quantity BETWEEN -99999999999999.99 AND 99999999999999.99),
    quantity_month        integer CHECK (quantity_month BETWEEN 190001 AND 999912),
    PRIMARY KEY (company_id, settlement_account_id),
    FOREIGN KEY (company_id, user_account_id) REFERENCES user_account,
    FOREIGN KEY (company_id, using_customer_id) REFERENCES customer,
    CONSTRAINT settlement_account_life CHECK (
        (state = '1') = (archived_on IS NULL) AND (state = '3') = (closed_on IS NOT NULL)
        AND (closed_on IS NULL OR closed_on >= archived_on))
);
-- Clients find what they added by user account, utility and name. A closed account gives its name free.
CREATE UNIQUE INDEX settlement_account_name ON settlement_account (company_id, user_account_id, utility, folded(name))
    WHERE state <> '3';
CREATE INDEX settlement_account_user ON settlement_account (company_id, user_account_id);
CREATE INDEX settlement_account_using ON settlement_account (company_id, using_customer_id);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON settlement_account
    FOR EACH ROW EXECUTE FUNCTION platform.record_personal_change('settlement_account', 'company_id',
        'settlement_account_id', 'name address remark contract_number');

-- Business processes (业务办理).
CREATE TABLE business_process (
    company_id            text NOT NULL,
    process_id            text NOT NULL DEFAULT 'Y' || nextval('business_process_number') CHECK (process_id <> ''),
    settlement_account_id text NOT NULL,
    kind                  text NOT NULL CHECK (kind IN ('1', '2', '11', '12', '50')),
    -- 1 waits for parameters, 3 for the meter.
    state                 text NOT NULL CHECK (state IN ('1', '3', '4')),
    -- The user account that a transfer leads to.
    new_user_account_id   text,
    applied_at            timestamptz NOT NULL DEFAULT platform.instant(),
    completed_at          timestamptz,
    PRIMARY KEY (company_id, process_id),
    FOREIGN KEY (company_id, settlement_account_id) REFERENCES settlement_account,
    FOREIGN KEY (company_id, new_user_account_id) REFERENCES user_account,
    CONSTRAINT business_process_transfer CHECK ((kind = '50') = (new_user_account_id IS NOT NULL))
);
-- An account has one open process.
CREATE UNIQUE INDEX business_process_one_open ON business_process (company_id, settlement_account_id)
    WHERE completed_at IS NULL;
CREATE INDEX business_process_account ON business_process (company_id, settlement_account_id, process_id);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON business_process
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('business_process', 'company_id', 'process_id');

-- Meter points (计量点): the parameters by which an account is billed. One for each account, from its first verification on.
CREATE TABLE meter_point (
    company_id             text NOT NULL,
    settlement_account_id  text NOT NULL,
    address                text NOT NULL,
    book_id                text NOT NULL,
    node_id                text NOT NULL,
    metered                text NOT NULL CHECK (metered IN ('1', '2')),
    network_company_id     text NOT NULL,
    network_store_id       text NOT NULL,
    retail_company_id      text NOT NULL,
    main_package_id        text NOT NULL,
    -- A temporary package replaces the main one in that many charge-offs since its verification.
    temporary_company_id   text,
    temporary_package_id   text,
    temporary_months       integer NOT NULL CHECK (temporary_months BETWEEN 0 AND 9999),
    temporary_months_used  integer NOT NULL DEFAULT 0 CHECK (temporary_months_used BETWEEN 0 AND temporary_months),
    assessed               text NOT NULL CHECK (assessed IN ('1', '2')),
    stopped_or_vacant      text NOT NULL CHECK (stopped_or_vacant IN ('1', '2')),
    -- Without supply on the days of [stopped_on, resumed_on).
    stopped_on             date,
    resumed_on             date,
    energy_load            numeric(14, 2) NOT NULL CHECK (energy_load BETWEEN 0 AND 999999999999.99),
    capacity               numeric(14, 2) NOT NULL CHECK (capacity BETWEEN 0 AND 999999999999.99),
    demand_multiplier      numeric(14, 2) NOT NULL CHECK (demand_multiplier BETWEEN 0 AND 999999999999.99),
    approved_demand        numeric(14, 2) NOT NULL CHECK (approved_demand BETWEEN 0 AND 999999999999.99),
    power_factor_standard  text CHECK (power_factor_standard IN ('1', '2', '3', '4')),
    fixed_quantity         numeric(14, 2) NOT NULL CHECK (fixed_quantity BETWEEN -999999999999.99 AND 999999999999.99),
    fixed_fee              numeric(14, 2) NOT NULL CHECK (fixed_fee BETWEEN -999999999999.99 AND 999999999999.99),
    apportioned_total      numeric(14, 2) NOT NULL CHECK (apportioned_total BETWEEN -999999999999.99 AND 999999999999.99),
    apportioned_fee        numeric(14, 2) NOT NULL CHECK (apportioned_fee BETWEEN -999999999999.99 AND 999999999999.99),
    apportion_ratio        numeric(8, 4) NOT NULL CHECK (apportion_ratio BETWEEN 0 AND 9999.9999),
    division_ratio         numeric(8, 4) NOT NULL CHECK (division_ratio BETWEEN 0 AND 9999.9999),
    divided_quantity       numeric(14, 2) NOT NULL CHECK (divided_quantity BETWEEN -999999999999.99 AND 999999999999.99),
    divided_fee            numeric(14, 2) NOT NULL CHECK (divided_fee BETWEEN -999999999999.99 AND 999999999999.99),
    area_factor            numeric(8, 4) NOT NULL CHECK (area_factor BETWEEN 0 AND 9999.9999),
    area                   numeric(14, 2) NOT NULL CHECK (area BETWEEN 0 AND 999999999999.99),
    -- 0: the package's.
    population             integer NOT NULL DEFAULT 0 CHECK (population BETWEEN 0 AND 9999),
    households             integer NOT NULL CHECK (households BETWEEN 0 AND 9999),
    PRIMARY KEY (company_id, settlement_account_id),
    FOREIGN KEY (company_id, settlement_account_id) REFERENCES settlement_account,
    CONSTRAINT meter_point_in_book FOREIGN KEY (company_id, book_id) REFERENCES book,
    FOREIGN KEY (network_company_id, node_id) REFERENCES node,
    FOREIGN KEY (network_company_id, network_store_id) REFERENCES store,
    FOREIGN KEY (retail_company_id, main_package_id) REFERENCES package,
    FOREIGN KEY (temporary_company_id, temporary_package_id) REFERENCES package,
    CONSTRAINT meter_point_temporary CHECK (
        (temporary_months > 0) = (temporary_package_id IS NOT NULL)
        AND (temporary_company_id IS NULL) = (temporary_package_id IS NULL)),
    CONSTRAINT meter_point_resumes CHECK (resumed_on >= stopped_on)
);
CREATE INDEX meter_point_book ON meter_point (company_id, book_id, settlement_account_id);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON meter_point
    FOR EACH ROW EXECUTE FUNCTION platform.record_personal_change('meter_point', 'company_id',
        'settlement_account_id', 'address');

ALTER TABLE meter ADD FOREIGN KEY (company_id, settlement_account_id) REFERENCES settlement_account;

-- Registers (示数) of an account's meter, as the next billing point takes them. An account that was closed keeps the
-- quantities that are not billed yet.
CREATE TABLE account_register (
    company_id            text NOT NULL,
    settlement_account_id text NOT NULL,
    flow                  text NOT NULL CHECK (flow IN ('1', '2')),
    register              text NOT NULL CHECK (register IN ('1', '2', '3', '4', '5', '6', '7', '8')),
    -- The meter; NULL after the close.
    meter_id              text,
    -- The latest reading that is billed, or the opening one.
    last_reading          numeric(16, 6) NOT NULL CHECK (last_reading BETWEEN 0 AND 9999999999.999999),
    last_read_on          date NOT NULL,
    -- What meters that were taken off measured since.
    old_quantity          numeric(16, 2) NOT NULL DEFAULT 0 CHECK (old_quantity BETWEEN -99999999999999.99 AND 99999999999999.99),
    PRIMARY KEY (company_id, settlement_account_id, flow, register),
    FOREIGN KEY (company_id, settlement_account_id) REFERENCES settlement_account,
    FOREIGN KEY (company_id, meter_id) REFERENCES meter
);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON account_register
    FOR EACH ROW EXECUTE FUNCTION platform.record_change(
        'account_register', 'company_id', 'settlement_account_id', 'flow', 'register');

-- Opening and closing readings of meters on accounts. Append-only; a meter that has one is never deleted.
CREATE TABLE boundary_reading (
    company_id            text NOT NULL,
    reading_number        bigint GENERATED ALWAYS AS IDENTITY,
    settlement_account_id text NOT NULL,
    meter_id              text NOT NULL,
    flow                  text NOT NULL CHECK (flow IN ('1', '2')),
    register              text NOT NULL CHECK (register IN ('1', '2', '3', '4', '5', '6', '7', '8')),
    opening               boolean NOT NULL,
    read_on               date NOT NULL,
    reading               numeric(16, 6) NOT NULL CHECK (reading BETWEEN 0 AND 9999999999.999999),
    -- Of a closing reading.
    turn                  text CHECK (turn IN ('1', '2', '3')),
    quantity              numeric(16, 2) CHECK (quantity BETWEEN -99999999999999.99 AND 99999999999999.99),
    -- The business process, or the batch by which the meter was brought along.
    origin                text NOT NULL,
    operator_id           text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id            text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id              text NOT NULL DEFAULT platform.actor('trace_id'),
    written_at            timestamptz NOT NULL DEFAULT platform.instant(),
    PRIMARY KEY (company_id, reading_number),
    CONSTRAINT boundary_reading_account FOREIGN KEY (company_id, settlement_account_id) REFERENCES settlement_account,
    CONSTRAINT boundary_reading_meter FOREIGN KEY (company_id, meter_id) REFERENCES meter
);
CREATE INDEX boundary_reading_of_meter ON boundary_reading (company_id, meter_id);

-- What settlement accounts of a company owe, those that owe something. The archive asks here, so that it need not know
-- how receivable lines are stored.
CREATE INDEX receivable_open_account ON receivable_open (settlement_account_id);
CREATE FUNCTION outstanding_of_accounts(company_id text, settlement_account_ids text[])
    RETURNS TABLE (settlement_account_id text, outstanding numeric) LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT r.settlement_account_id, sum(r.fee - r.paid_total)
    FROM receivable_open r
    WHERE r.settlement_account_id = ANY($2) AND (r.network_company_id = $1 OR r.retail_company_id = $1)
    GROUP BY r.settlement_account_id;
END;

-- The packages that an account of a network company may be billed by.
CREATE INDEX package_of_network ON package (network_company_id, package_id);

-- What the role that serves may do: registers change with their meter, and everything else stays.
GRANT SELECT, INSERT, UPDATE ON settlement_account, business_process, meter_point TO communal_server;
GRANT SELECT, INSERT, UPDATE, DELETE ON account_register TO communal_server;
GRANT SELECT, INSERT ON boundary_reading TO communal_server;
GRANT USAGE ON SEQUENCE settlement_account_number, business_process_number TO communal_server;
