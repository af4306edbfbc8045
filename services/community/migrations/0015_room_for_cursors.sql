-- A run moves the cursor of each rule: a new version beside the old one, in the same page, needs no entry in any index.
ALTER TABLE pay_fee_rule SET (fillfactor = 70);
