-- The history of a table with personal data. The change log is append-only, so what a person may have blanked must
-- never get into it: the images leave the personal columns out, and "personal" in the image after a change names those
-- that changed.

-- Records a change of a row. Its arguments: the noun, the column of the tenant, the columns of the key and the personal
-- columns, each list with a space between.
--
--   CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON customer
--       FOR EACH ROW EXECUTE FUNCTION platform.record_personal_change(
--           'customer', 'company_id', 'customer_id', 'name phone');
CREATE FUNCTION platform.record_personal_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before   jsonb  := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    after    jsonb  := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    image    jsonb  := coalesce(after, before);
    personal text[] := string_to_array(TG_ARGV[3], ' ');
    changed  jsonb  := '[]';
    key      text   := '';
    name     text;
BEGIN
    FOREACH name IN ARRAY string_to_array(TG_ARGV[2], ' ') LOOP
        key := key || ' ' || (image ->> name);
    END LOOP;
    FOREACH name IN ARRAY personal LOOP
        IF coalesce(before ->> name, '') <> coalesce(after ->> name, '') THEN
            changed := changed || to_jsonb(name);
        END IF;
    END LOOP;
    INSERT INTO platform.change (tenant_id, noun, key, operation, before, after)
    VALUES (image ->> TG_ARGV[1], TG_ARGV[0], ltrim(key), TG_OP, before - personal,
            (after - personal) || jsonb_build_object('personal', changed));
    RETURN NULL;
END
$$;
