-- The form in which names are compared, as in billing: compatibility characters, case and all white space do not tell
-- two names apart.
CREATE FUNCTION folded(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN lower(regexp_replace(normalize($1, NFKC), '\s+', '', 'g'));

-- A name is taken by a live item that looks the same; the second of two that arrive at once fails here.
DROP INDEX pay_fee_config_live_name;
CREATE UNIQUE INDEX pay_fee_config_live_name ON pay_fee_config (community_id, folded(fee_name)) WHERE deleted_at IS NULL;
