-- Bills (账单): what was charged off. The row of a point is the fact that it was: its key admits no second one. The bill of
-- a NORMAL point has number 0, those of retro points of a month are counted from 1. It is only inserted.
CREATE TABLE bill (
    company_id            text NOT NULL,
    settlement_account_id text NOT NULL,
    account_month         integer NOT NULL CHECK (account_month BETWEEN 190001 AND 999912),
    kind                  text NOT NULL CHECK (kind IN ('1', '2')),
    number                integer NOT NULL,
    -- The serial (SERIAL_DID) that its lines have.
    charge_off_id         text NOT NULL CHECK (charge_off_id <> ''),
    charge_off_date       date NOT NULL,
    posting_id            bigint NOT NULL,
    customer_id           text NOT NULL,
    book_id               text NOT NULL,
    network_company_id    text NOT NULL,
    retail_company_id     text NOT NULL,
    -- Its lines are numbered from 1.
    lines                 integer NOT NULL CHECK (lines > 0),
    -- The sum of its lines; what is not above zero was closed by the bill itself, and credited.
    total                 numeric(16, 2) NOT NULL CHECK (total BETWEEN -99999999999999.99 AND 99999999999999.99),
    -- The billed energy by which the accumulators grew.
    quantity              numeric(16, 2) NOT NULL CHECK (quantity BETWEEN -99999999999999.99 AND 99999999999999.99),
    PRIMARY KEY (company_id, settlement_account_id, account_month, kind, number),
    CONSTRAINT bill_number CHECK (CASE kind WHEN '1' THEN number = 0 ELSE number > 0 END)
) PARTITION BY RANGE (account_month);

SELECT open_account_month(account_month)
FROM (SELECT DISTINCT account_month FROM month_control WHERE kind = 'account') AS months;

-- Charge-off moves the figures of every register each month. What it moves is a bill, which stands in the history of bills; who
-- installs, swaps or takes off a meter always sets the meter, and stands in the change log as before.
DROP TRIGGER history ON account_register;
CREATE TRIGGER history AFTER INSERT OR DELETE OR UPDATE OF meter_id ON account_register
    FOR EACH ROW EXECUTE FUNCTION platform.record_change(
        'account_register', 'company_id', 'settlement_account_id', 'flow', 'register');
-- Every row of a page changes in a run: with half of it free the new versions stay on the page.
ALTER TABLE account_register SET (fillfactor = 50);

-- What the role that serves may do: a bill stays as it was issued.
GRANT SELECT, INSERT ON bill TO communal_server;
