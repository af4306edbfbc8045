-- The region of a store, and the catalogue: category items, account items, network nodes.

-- A store that was registered before has none until it is registered again.
ALTER TABLE store ADD COLUMN region_code text NOT NULL DEFAULT '';

-- Category items (分类项目): what a line is booked on.
CREATE TABLE category_item (
    company_id    text NOT NULL REFERENCES platform.tenant,
    category_item bigint NOT NULL CHECK (category_item BETWEEN 1 AND 9999999999),
    name          text NOT NULL CHECK (name <> ''),
    utility       text NOT NULL CHECK (utility IN ('1', '2', '3', '4', '5', '6', '7')),
    surcharge     text NOT NULL CHECK (surcharge IN ('1', '2')),
    -- An opaque code, '' if not given.
    kind          text NOT NULL,
    PRIMARY KEY (company_id, category_item)
);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON category_item
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('category_item', 'company_id', 'category_item');

-- The items of a utility by number. Who refers to an item names its utility and whether it is a surcharge, so that
-- neither changes behind his back.
CREATE UNIQUE INDEX category_item_of_utility ON category_item (company_id, utility, category_item, surcharge);

-- Account items (会计科目): the tariff class of prices, packages and lines.
CREATE TABLE account_item (
    company_id         text NOT NULL REFERENCES platform.tenant,
    account_item       text NOT NULL CHECK (account_item <> ''),
    name               text NOT NULL CHECK (name <> ''),
    utility            text NOT NULL CHECK (utility IN ('1', '2', '3', '4', '5', '6', '7')),
    -- The category item of its main lines, which is never a surcharge.
    main_category_item bigint NOT NULL,
    main_surcharge     text NOT NULL GENERATED ALWAYS AS ('1') STORED,
    PRIMARY KEY (company_id, account_item),
    CONSTRAINT account_item_main FOREIGN KEY (company_id, utility, main_category_item, main_surcharge)
        REFERENCES category_item (company_id, utility, category_item, surcharge)
);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON account_item
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('account_item', 'company_id', 'account_item');
CREATE INDEX account_item_by_main ON account_item (company_id, main_category_item);

-- For those who refer to an account item and its utility.
CREATE UNIQUE INDEX account_item_of_utility ON account_item (company_id, account_item, utility);

-- Network nodes (管网节点) of a network company.
CREATE TABLE node (
    company_id text NOT NULL REFERENCES platform.tenant,
    node_id    text NOT NULL CHECK (node_id <> ''),
    name       text NOT NULL CHECK (name <> ''),
    store_id   text NOT NULL,
    utility    text NOT NULL CHECK (utility IN ('1', '2', '3', '4', '5', '6', '7')),
    PRIMARY KEY (company_id, node_id),
    CONSTRAINT node_store FOREIGN KEY (company_id, store_id) REFERENCES store
);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON node
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('node', 'company_id', 'node_id');
CREATE INDEX node_by_store ON node (company_id, store_id);

-- What the role that serves may do: items and nodes are registered and changed, and never deleted.
GRANT SELECT, INSERT, UPDATE ON category_item, account_item, node TO communal_server;
