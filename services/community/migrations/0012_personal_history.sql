-- A fee keeps the name and the phone of its owner as they were on the day of its creation, and the name of its payer
-- object, which may be that of a person or the plate of a car. They stay out of the change log.
DROP TRIGGER history ON pay_fee;
CREATE TRIGGER history AFTER UPDATE OR DELETE ON pay_fee
    FOR EACH ROW EXECUTE FUNCTION platform.record_personal_change(
        'fee', 'community_id', 'fee_id', 'owner_name owner_tel payer_name');
