-- What amounts need besides areas and rents: owners, wider areas, attributes, rooms of contracts, meter readings, and
-- the settings of a community.
CREATE TABLE owner (
    community_id text NOT NULL CHECK (length(community_id) BETWEEN 1 AND 30),
    owner_id     text NOT NULL CHECK (length(owner_id) BETWEEN 1 AND 30),
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    phone        text NOT NULL CHECK (length(phone) <= 30),
    written_at   timestamptz NOT NULL DEFAULT platform.instant(),
    operator_id  text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id   text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id     text NOT NULL DEFAULT platform.actor('trace_id'),
    PRIMARY KEY (community_id, owner_id)
);

ALTER TABLE payer_object
    ADD community_area    numeric(12, 2) CHECK (community_area BETWEEN 0 AND 9999999999.99),
    ADD building_area     numeric(12, 2) CHECK (building_area BETWEEN 0 AND 9999999999.99),
    ADD unit_area         numeric(12, 2) CHECK (unit_area BETWEEN 0 AND 9999999999.99),
    -- Attributes of a room (RL): their numbers, and their values in the same order.
    ADD attribute_numbers text[] NOT NULL DEFAULT '{}',
    ADD attribute_values  numeric(16, 4)[] NOT NULL DEFAULT '{}',
    ADD owner_id          text,
    ADD room_state        text CHECK (room_state IN (
        '2001', '2002', '2003', '2004', '2005', '2006', '2007', '2008', '2009')),
    ADD car_state         text CHECK (car_state IN ('H', 'S')),
    ADD car_park_id       text CHECK (length(car_park_id) BETWEEN 1 AND 30),
    ADD room_num          text CHECK (length(room_num) BETWEEN 1 AND 64),
    ADD floor_id          text CHECK (length(floor_id) BETWEEN 1 AND 30),
    ADD unit_id           text CHECK (length(unit_id) BETWEEN 1 AND 30),
    ADD room_sub_type     text CHECK (length(room_sub_type) BETWEEN 1 AND 12),
    ADD CONSTRAINT payer_object_attributes CHECK (
        cardinality(attribute_numbers) = cardinality(attribute_values) AND NOT 'NaN' = ANY (attribute_values)),
    ADD FOREIGN KEY (community_id, owner_id) REFERENCES owner;
CREATE INDEX payer_object_owner ON payer_object (community_id, owner_id) WHERE owner_id IS NOT NULL;
CREATE INDEX payer_object_room_num ON payer_object (community_id, room_num) WHERE room_num IS NOT NULL;
CREATE INDEX payer_object_car_park ON payer_object (community_id, car_park_id) WHERE car_park_id IS NOT NULL;

-- The rooms of a contract. Checked at commit: a contract may be registered before its rooms.
CREATE TABLE contract_room (
    community_id text NOT NULL,
    contract_id  text NOT NULL,
    room_id      text NOT NULL,
    PRIMARY KEY (community_id, contract_id, room_id),
    FOREIGN KEY (community_id, contract_id) REFERENCES payer_object,
    CONSTRAINT contract_room_exists FOREIGN KEY (community_id, room_id) REFERENCES payer_object
        DEFERRABLE INITIALLY DEFERRED
);

CREATE SEQUENCE meter_reading_number;

CREATE TABLE meter_reading (
    community_id     text NOT NULL,
    reading_id       text NOT NULL,
    config_id        text NOT NULL,
    payer_obj_id     text NOT NULL,
    meter_type       text NOT NULL CHECK (meter_type IN ('1010', '2020', '3030')),
    pre_degrees      numeric(12, 2) NOT NULL CHECK (pre_degrees BETWEEN 0 AND 9999999999.99),
    cur_degrees      numeric(12, 2) NOT NULL CHECK (cur_degrees BETWEEN 0 AND 9999999999.99),
    pre_reading_time timestamp NOT NULL,
    cur_reading_time timestamp NOT NULL,
    -- NULL: none; formula 9009 is then an error and not an amount.
    price            numeric(12, 4) CHECK (price BETWEEN 0 AND 99999999.9999),
    remark           text NOT NULL DEFAULT '' CHECK (length(remark) <= 200),
    created_at       timestamptz NOT NULL DEFAULT platform.instant(),
    deleted_at       timestamptz,
    operator_id      text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id       text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id         text NOT NULL DEFAULT platform.actor('trace_id'),
    PRIMARY KEY (community_id, reading_id),
    FOREIGN KEY (community_id, config_id) REFERENCES pay_fee_config,
    FOREIGN KEY (community_id, payer_obj_id) REFERENCES payer_object,
    CONSTRAINT meter_reading_forwards CHECK (pre_degrees <= cur_degrees AND pre_reading_time <= cur_reading_time)
);
-- A meter is read once at a time; the latest reading is found by it as well.
CREATE UNIQUE INDEX meter_reading_live ON meter_reading (community_id, payer_obj_id, config_id, cur_reading_time)
    WHERE deleted_at IS NULL;

CREATE TABLE community_setting (
    community_id        text PRIMARY KEY REFERENCES platform.tenant,
    -- Periodic items are charged by bill rules instead of fees.
    pay_fee_month       boolean NOT NULL DEFAULT false,
    -- Calendar months of one bill.
    pay_fee_month_cycle smallint NOT NULL DEFAULT 1 CHECK (pay_fee_month_cycle BETWEEN 1 AND 120),
    -- The same charge may be created twice.
    allow_duplicate_fee boolean NOT NULL DEFAULT false,
    -- Operators may approve their own requests.
    batch_self_approval boolean NOT NULL DEFAULT false
);
CREATE TRIGGER history AFTER INSERT OR UPDATE OR DELETE ON community_setting
    FOR EACH ROW EXECUTE FUNCTION platform.record_change('community_setting', 'community_id', 'community_id');

-- What the role that serves may do: the rooms of a contract are replaced, a reading is marked as deleted.
GRANT SELECT, INSERT, UPDATE ON owner, meter_reading, community_setting TO communal_server;
GRANT SELECT, INSERT, DELETE ON contract_room TO communal_server;
GRANT USAGE ON SEQUENCE meter_reading_number TO communal_server;
