-- Whether the database was filled with demo data. Only such a one may follow a sandbox clock (communal_kit::sandbox).
CREATE TABLE platform.demo_data (
    single    boolean PRIMARY KEY DEFAULT true CHECK (single),
    loaded_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON platform.demo_data TO communal_server;
