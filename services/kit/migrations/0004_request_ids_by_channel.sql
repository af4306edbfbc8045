-- A request id belongs to the channel that chose it: two systems of one company that both count from 1 must not answer
-- each other's requests.
ALTER TABLE platform.answered_request
    DROP CONSTRAINT answered_request_pkey,
    ADD PRIMARY KEY (tenant_id, channel_id, request_id);
