-- An application that was made by mistake is withdrawn: its process is complete without having done anything. A new
-- connection that is withdrawn ends its account, which never was supplied: 4 beside 1 connecting, 2 archived, 3 closed.
ALTER TABLE business_process ADD COLUMN withdrawn boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT business_process_withdrawn CHECK (NOT withdrawn OR completed_at IS NOT NULL);

ALTER TABLE settlement_account DROP CONSTRAINT settlement_account_state_check, DROP CONSTRAINT settlement_account_life,
    ADD CONSTRAINT settlement_account_state_check CHECK (state IN ('1', '2', '3', '4')),
    ADD CONSTRAINT settlement_account_life CHECK (
        (state IN ('1', '4')) = (archived_on IS NULL) AND (state = '3') = (closed_on IS NOT NULL)
        AND (closed_on IS NULL OR closed_on >= archived_on));

-- An account that ended gives its name free.
DROP INDEX settlement_account_name;
CREATE UNIQUE INDEX settlement_account_name ON settlement_account (company_id, user_account_id, utility, folded(name))
    WHERE state NOT IN ('3', '4');
