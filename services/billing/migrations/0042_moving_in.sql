-- Archives that companies brought along: a batch that is sent again gets the same reply and writes nothing.
CREATE TABLE archive_batch (
    company_id          text NOT NULL REFERENCES platform.tenant,
    batch_id            text NOT NULL,
    content_hash        bytea NOT NULL CHECK (octet_length(content_hash) = 32),
    customers           bigint NOT NULL CHECK (customers >= 0),
    user_accounts       bigint NOT NULL CHECK (user_accounts >= 0),
    settlement_accounts bigint NOT NULL CHECK (settlement_accounts >= 0),
    meters              bigint NOT NULL CHECK (meters >= 0),
    operator_id         text NOT NULL DEFAULT platform.actor('operator_id'),
    channel_id          text NOT NULL DEFAULT platform.actor('channel_id'),
    trace_id            text NOT NULL DEFAULT platform.actor('trace_id'),
    written_at          timestamptz NOT NULL DEFAULT platform.instant(),
    PRIMARY KEY (company_id, batch_id)
);
GRANT SELECT, INSERT ON archive_batch TO communal_server;
