-- Who is at work, and the change log. A transaction that writes announces its actor in local settings
-- (communal_kit::write); columns take their defaults from there, and so does the trigger that keeps the history of a
-- table. A statement cannot forget either: without an actor it fails.

-- Announces the actor to the transaction.
CREATE FUNCTION platform.announce(
    operator_id text, operator_name text, channel_id text, trace_id text, method text, instant timestamptz
) RETURNS void LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT set_config('communal.operator_id', operator_id, true), set_config('communal.operator_name', operator_name, true),
           set_config('communal.channel_id', channel_id, true), set_config('communal.trace_id', trace_id, true),
           set_config('communal.method', method, true), set_config('communal.instant', instant::text, true);
END;

-- A setting of the actor: operator_id, operator_name, channel_id, trace_id or method. NULL where no actor was
-- announced; an ended transaction leaves the settings empty.
CREATE FUNCTION platform.actor(field text) RETURNS text LANGUAGE sql STABLE
    RETURN nullif(current_setting('communal.' || field, true), '');

-- The instant of the call that is at work, by the service's clock.
CREATE FUNCTION platform.instant() RETURNS timestamptz LANGUAGE sql STABLE
    RETURN nullif(current_setting('communal.instant', true), '')::timestamptz;

-- The change log: what each row of a noun was before and after each change, who changed it, and when. Append-only.
CREATE TABLE platform.change (
    tenant_id     text NOT NULL,
    -- What changed, like fee_item.
    noun          text NOT NULL,
    -- Which one: the key columns of the row, a space between them.
    key           text NOT NULL,
    -- Drawn while the row is locked: the changes of one row have numbers in their order.
    change_number bigint GENERATED ALWAYS AS IDENTITY,
    operation     text NOT NULL CHECK (operation IN ('INSERT', 'UPDATE', 'DELETE')),
    before        jsonb CHECK ((before IS NULL) = (operation = 'INSERT')),
    after         jsonb CHECK ((after IS NULL) = (operation = 'DELETE')),
    operator_id   text NOT NULL DEFAULT platform.actor('operator_id'),
    operator_name text NOT NULL DEFAULT coalesce(platform.actor('operator_name'), ''),
    channel_id    text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id      text NOT NULL DEFAULT platform.actor('trace_id'),
    method        text NOT NULL DEFAULT platform.actor('method'),
    changed_at    timestamptz NOT NULL DEFAULT platform.instant(),
    PRIMARY KEY (tenant_id, noun, change_number)
);
CREATE INDEX change_of_row ON platform.change (tenant_id, noun, key, change_number);

-- Records a change of a row. Its arguments: the noun, the column of the tenant, the columns of the key.
--
--   CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON sales_package
--       FOR EACH ROW EXECUTE FUNCTION platform.record_change('package', 'retail_company_id', 'package_id');
CREATE FUNCTION platform.record_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    after  jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    image  jsonb := coalesce(after, before);
    key    text  := image ->> TG_ARGV[2];
BEGIN
    FOR place IN 3 .. TG_NARGS - 1 LOOP
        key := key || ' ' || (image ->> TG_ARGV[place]);
    END LOOP;
    INSERT INTO platform.change (tenant_id, noun, key, operation, before, after)
    VALUES (image ->> TG_ARGV[1], TG_ARGV[0], key, TG_OP, before, after);
    RETURN NULL;
END
$$;

CREATE FUNCTION platform.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON platform.change
    FOR EACH STATEMENT EXECUTE FUNCTION platform.refuse_change();
GRANT SELECT, INSERT ON platform.change TO communal_server;
