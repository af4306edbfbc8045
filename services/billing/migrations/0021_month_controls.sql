-- Month controls of both kinds change and are deleted: the account months (出账) and the settle months (结账), in which a
-- line is closed. They are one noun: windows that follow each other.
ALTER TABLE month_control
    ADD COLUMN kind text NOT NULL DEFAULT 'account' CHECK (kind IN ('account', 'settle')),
    -- The first and the last day on which something was created in the month; NULL if nothing was.
    ADD COLUMN first_use date,
    ADD COLUMN last_use date,
    ALTER COLUMN part_month_rule DROP NOT NULL,
    ADD CONSTRAINT month_control_rule_of_kind CHECK ((part_month_rule IS NULL) = (kind = 'settle')),
    -- A window is not moved off a day on which something was created in it.
    ADD CONSTRAINT month_control_holds_use CHECK (
        CASE WHEN first_use IS NULL THEN last_use IS NULL
             ELSE first_use >= start_date AND last_use >= first_use AND last_use < stop_date END),
    DROP CONSTRAINT month_control_pkey,
    ADD PRIMARY KEY (company_id, kind, network_company_id, network_store_id, utility, account_month),
    DROP CONSTRAINT month_control_windows_apart,
    ADD CONSTRAINT month_control_windows_apart EXCLUDE USING gist (
        company_id WITH =, kind WITH =, network_company_id WITH =, network_store_id WITH =, utility WITH =,
        daterange(start_date, stop_date) WITH &&);
DROP TRIGGER history ON month_control;
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON month_control
    FOR EACH ROW EXECUTE FUNCTION platform.record_change(
        'month_control', 'company_id', 'kind', 'network_company_id', 'network_store_id', 'utility', 'account_month');
CREATE INDEX month_control_by_store ON month_control (network_company_id, network_store_id);

-- What the role that serves may do, besides opening months: the latest month is deleted while it is unused.
GRANT UPDATE, DELETE ON month_control TO communal_server;
