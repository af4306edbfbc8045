-- A meter that is deleted is looked for among the registers, without reading those of all accounts.
CREATE INDEX account_register_of_meter ON account_register (company_id, meter_id);
