-- Who may call, and which requests were answered. Every service database has this schema;
-- its definition lives here once, and each service's `migrate` applies it before its own.
CREATE SCHEMA IF NOT EXISTS platform;

-- The group of the roles that serve. The owner of the tables migrates; a role that serves has no DDL, and each
-- migration grants the group what statements need and no more: neither UPDATE nor DELETE where history is append-only.
-- An owner that may not make roles finds the group there.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'communal_server') THEN
        CREATE ROLE communal_server NOLOGIN;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL; -- Another database of the cluster was first.
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'an administrator has to CREATE ROLE communal_server NOLOGIN first';
END
$$;
GRANT USAGE ON SCHEMA platform TO communal_server;

-- What is billed for: a supplier of billing, a community of community.
CREATE TABLE platform.tenant (
    tenant_id  text PRIMARY KEY CHECK (tenant_id <> ''),
    kind       smallint NOT NULL CHECK (kind BETWEEN 1 AND 3),
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A system that calls: EPEIS channel, HC app.
CREATE TABLE platform.channel (
    channel_id  text PRIMARY KEY CHECK (channel_id <> ''),
    name        text NOT NULL,
    proof       smallint NOT NULL CHECK (proof BETWEEN 1 AND 3),
    admin       boolean NOT NULL DEFAULT false,
    -- Empty: every method but administration.
    methods     text[] NOT NULL DEFAULT '{}',
    disabled_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- Whoever may hand out credentials must hold one itself.
    CHECK (NOT (admin AND proof = 3))
);

-- Keys of a channel; two are live while it rotates.
CREATE TABLE platform.channel_key (
    channel_id  text NOT NULL REFERENCES platform.channel,
    key_sha256  bytea NOT NULL CHECK (octet_length(key_sha256) = 32),
    -- The secret itself, encrypted: a signature can only be checked with it.
    sealed      bytea,
    valid_from  timestamptz NOT NULL,
    valid_until timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (channel_id, key_sha256)
);

CREATE TABLE platform.channel_tenant (
    channel_id text NOT NULL REFERENCES platform.channel,
    tenant_id  text NOT NULL REFERENCES platform.tenant,
    PRIMARY KEY (channel_id, tenant_id)
);

-- The person in whose name a call is made.
CREATE TABLE platform.operator (
    operator_id text PRIMARY KEY CHECK (operator_id <> ''),
    name        text NOT NULL,
    disabled_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE platform.operator_tenant (
    operator_id text NOT NULL REFERENCES platform.operator,
    tenant_id   text NOT NULL REFERENCES platform.tenant,
    PRIMARY KEY (operator_id, tenant_id)
);

-- Requests that changed something and what they were answered, so that a repeated one is
-- answered again and not carried out again. Written in the transaction of the change. An id is spent
-- once, whatever the method.
CREATE TABLE platform.answered_request (
    tenant_id    text NOT NULL,
    request_id   text NOT NULL,
    method       text NOT NULL,
    request_hash bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    reply        bytea NOT NULL,
    channel_id   text NOT NULL,
    operator_id  text NOT NULL,
    trace_id     text NOT NULL,
    answered_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, request_id)
);
CREATE INDEX answered_request_age ON platform.answered_request (answered_at);

GRANT SELECT, INSERT, UPDATE ON platform.tenant, platform.channel, platform.channel_key, platform.operator
    TO communal_server;
GRANT SELECT, INSERT ON platform.channel_tenant TO communal_server;
GRANT SELECT, INSERT, DELETE ON platform.operator_tenant TO communal_server;
-- Old replies are forgotten.
GRANT SELECT, INSERT, UPDATE, DELETE ON platform.answered_request TO communal_server;
