-- The rules of a payer object: what a room is charged by, and whether a charge stands already.
CREATE INDEX pay_fee_rule_payer_object ON pay_fee_rule (community_id, payer_obj_id, rule_id);
-- The rooms of a building and of a unit, of which arrears are asked.
CREATE INDEX payer_object_floor ON payer_object (community_id, floor_id) WHERE floor_id IS NOT NULL;
CREATE INDEX payer_object_unit ON payer_object (community_id, unit_id) WHERE unit_id IS NOT NULL;
