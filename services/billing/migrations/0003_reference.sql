-- Reference data (基础资料). A coded column holds the documented code (codes.proto).

-- Month controls (出账月份控制): the account months of a company for its accounts at a store and utility.
CREATE TABLE month_control (
    company_id         text NOT NULL REFERENCES platform.tenant,
    network_company_id text NOT NULL,
    network_store_id   text NOT NULL,
    utility            text NOT NULL CHECK (utility IN ('1', '2', '3', '4', '5', '6', '7')),
    -- yyyyMM.
    account_month      integer NOT NULL CHECK (account_month BETWEEN 190001 AND 999912),
    part_month_rule    text NOT NULL CHECK (part_month_rule IN ('1', '2', '3', '4')),
    -- Open on the days of [start_date, stop_date).
    start_date         date NOT NULL,
    stop_date          date NOT NULL CHECK (stop_date > start_date),
    PRIMARY KEY (company_id, network_company_id, network_store_id, utility, account_month),
    FOREIGN KEY (network_company_id, network_store_id) REFERENCES store,
    -- No day is in two months.
    CONSTRAINT month_control_windows_apart EXCLUDE USING gist (
        company_id WITH =, network_company_id WITH =, network_store_id WITH =, utility WITH =,
        daterange(start_date, stop_date) WITH &&)
);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON month_control
    FOR EACH ROW EXECUTE FUNCTION platform.record_change(
        'month_control', 'company_id', 'network_company_id', 'network_store_id', 'utility', 'account_month');

-- What the role that serves may do: a month is opened, and stays as it was opened.
GRANT SELECT, INSERT ON month_control TO communal_server;
