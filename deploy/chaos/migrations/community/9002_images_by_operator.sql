-- no-transaction
CREATE INDEX CONCURRENTLY fee_item_image_operator ON fee_item_image (community_id, operator_id, change_number DESC);
