-- What a fee owes has no bound that a column could take from it: a rent that rises each month by a high rate passes any. It
-- is kept as it is computed.
ALTER TABLE pay_fee
    DROP CONSTRAINT pay_fee_waived_check,
    ALTER waived TYPE numeric(32, 4),
    ADD CONSTRAINT pay_fee_waived_check CHECK (waived >= 0 AND waived <> 'NaN');
