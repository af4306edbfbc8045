-- Parts of payments (付款明细): how much of which line a payment paid. A line keeps its last two payments alone; an undone payment
-- takes its parts off again. A part stands in the account month in which its payment is booked, as its entries of the ledger do.
CREATE TABLE payment_part (
    company_id            text NOT NULL,
    -- The serial that the payment has in the ledger.
    payment_id            text NOT NULL CHECK (payment_id <> ''),
    account_month         integer NOT NULL CHECK (account_month BETWEEN 190001 AND 999912),
    -- The line. An imported one has a negative number.
    network_company_id    text NOT NULL,
    settlement_account_id text NOT NULL,
    line_month            integer NOT NULL CHECK (line_month BETWEEN 190001 AND 999912),
    charge_off_id         text NOT NULL,
    line_number           bigint NOT NULL,
    -- With the sign of the line.
    amount                numeric(16, 2) NOT NULL CHECK (amount <> 0 AND amount BETWEEN -99999999999999.99 AND 99999999999999.99),
    PRIMARY KEY (company_id, payment_id, network_company_id, settlement_account_id, line_month, charge_off_id, line_number,
        account_month)
) PARTITION BY RANGE (account_month);
CREATE INDEX payment_part_line ON payment_part (company_id, settlement_account_id, line_month, charge_off_id, line_number);

SELECT open_account_month(account_month)
FROM (SELECT DISTINCT account_month FROM month_control WHERE kind = 'account') AS months;

-- Former customers (原客户): the accounts that a customer had before they were transferred. What was billed to the customer then is
-- the customer's debt still.
CREATE TABLE former_customer (
    company_id            text NOT NULL,
    customer_id           text NOT NULL,
    settlement_account_id text NOT NULL,
    PRIMARY KEY (company_id, customer_id, settlement_account_id),
    FOREIGN KEY (company_id, customer_id) REFERENCES customer,
    FOREIGN KEY (company_id, settlement_account_id) REFERENCES settlement_account
);

CREATE FUNCTION keep_former_customer() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO former_customer (company_id, customer_id, settlement_account_id)
    SELECT u.company_id, u.customer_id, OLD.settlement_account_id FROM user_account u
    WHERE u.company_id = OLD.company_id AND u.user_account_id = OLD.user_account_id
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION keep_former_customer FROM PUBLIC;
CREATE TRIGGER former_customer AFTER UPDATE OF user_account_id ON settlement_account
    FOR EACH ROW WHEN (OLD.user_account_id <> NEW.user_account_id) EXECUTE FUNCTION keep_former_customer();

-- Transfers from before: whom accounts that were transferred have bills of.
INSERT INTO former_customer (company_id, customer_id, settlement_account_id)
SELECT DISTINCT b.company_id, b.customer_id, b.settlement_account_id
FROM business_process p
JOIN bill b ON b.company_id = p.company_id AND b.settlement_account_id = p.settlement_account_id
JOIN settlement_account a ON a.company_id = b.company_id AND a.settlement_account_id = b.settlement_account_id
JOIN user_account u ON u.company_id = a.company_id AND u.user_account_id = a.user_account_id
WHERE p.kind = '50' AND p.completed_at IS NOT NULL AND u.customer_id <> b.customer_id;

-- What the role that serves may do: a part stays as it was paid.
GRANT SELECT, INSERT ON payment_part TO communal_server;
GRANT SELECT ON former_customer TO communal_server;
