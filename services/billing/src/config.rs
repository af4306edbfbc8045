//! The settings of billing. `communal_kit::config` reads them from the environment and a file.

use std::net::SocketAddr;

use communal_kit::clock::{Clock, DEFAULT_ZONE};
use communal_kit::config::Reader;
use communal_kit::database::DatabaseSettings;
use communal_kit::server::ServerSettings;

/// The setting of the database's URL.
pub const DATABASE_URL: &str = "billing_database_url";

/// Default address of gRPC.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 50_051);
/// Default address of metrics and health over HTTP.
const ADMIN_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9_051);

/// Everything that billing needs to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Database.
    pub database: DatabaseSettings,
    /// Its replicas, which may answer queries of arrears. If empty, the primary answers all.
    pub replicas: Vec<DatabaseSettings>,
    /// Ports and limits of the server.
    pub server: ServerSettings,
    /// Most lines of an answer to `QueryUserArrearages`.
    pub arrears_cap: u32,
    /// Most lines of an imported batch.
    pub import_lines: u32,
    /// The clock; tests pass in a fixed one.
    pub clock: Clock,
}

impl Config {
    /// Reads the settings; faults stay with the reader.
    pub fn read(reader: &mut Reader) -> Self {
        let database = DatabaseSettings::read(reader, DATABASE_URL);
        Self {
            replicas: database.read_replicas(reader, "billing_replica_url"),
            database,
            server: ServerSettings::read(reader, ("billing_addr", ADDRESS), ("billing_admin_addr", ADMIN_ADDRESS)),
            arrears_cap: reader.parsed("arrears_cap", 10_000),
            import_lines: reader.parsed("import_lines", 2_000_000),
            clock: clock(reader),
        }
    }
}

/// Returns the machine's clock in the configured zone.
pub fn clock(reader: &mut Reader) -> Clock {
    Clock::system(reader.parsed("time_zone", DEFAULT_ZONE))
}
