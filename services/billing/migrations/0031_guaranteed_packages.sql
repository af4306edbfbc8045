-- Guaranteed packages (保底套餐): packages of a network company, offered in its stores and priced by its catalogue.

-- A retail package is sold by one store, a guaranteed one is offered in several.
ALTER TABLE package ALTER COLUMN retail_store_id DROP NOT NULL;
ALTER TABLE package ADD CONSTRAINT package_store_of_sale CHECK ((kind = '3') = (retail_store_id IS NOT NULL));

CREATE TABLE package_store (
    company_id       text NOT NULL,
    package_id       text NOT NULL,
    network_store_id text NOT NULL,
    PRIMARY KEY (company_id, package_id, network_store_id),
    FOREIGN KEY (company_id, package_id) REFERENCES package (retail_company_id, package_id),
    FOREIGN KEY (company_id, network_store_id) REFERENCES store (company_id, store_id)
);
CREATE INDEX package_store_by_store ON package_store (company_id, network_store_id);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON package_store
    FOR EACH ROW EXECUTE FUNCTION platform.record_change(
        'package_store', 'company_id', 'package_id', 'network_store_id');

-- Names that differ in width, case or spacing only are one name to a person.
DROP INDEX package_live_name;
CREATE UNIQUE INDEX package_live_name
    ON package (retail_company_id, lower(regexp_replace(normalize(name, NFKC), '\s+', '', 'g'))) WHERE state <> '6';

-- What the role that serves may do: the stores of a package stay.
GRANT SELECT, INSERT ON package_store TO communal_server;
