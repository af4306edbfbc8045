ALTER TABLE package VALIDATE CONSTRAINT package_contract_months;
