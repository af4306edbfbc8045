//! The settings of billing. `communal_kit::config` reads them from the environment and a file.

use std::net::SocketAddr;
use std::str::FromStr;

use communal_kit::clock::Clock;
use communal_kit::config::Reader;
use communal_kit::database::DatabaseSettings;
use communal_kit::identity::SealingKey;
use communal_kit::portions::PortionLimits;
use communal_kit::secret::Secret;
use communal_kit::server::ServerSettings;
use communal_kit::uploads::UploadLimits;
use rust_decimal::Decimal;

use crate::charge_off::Settings;
use crate::charge_off::bill::Bounds;
use crate::receivables::penalty::PenaltyRates;
use crate::vocabulary::personal::PersonalKeys;
use crate::vocabulary::tariff::ByUtility;
use crate::vocabulary::vacancy::VacancyRatios;

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
    /// How many times the daily average of the bills before, or what part of it, a reading may measure a day.
    pub reading_factor: Decimal,
    /// The largest fee of a retro point, of either sign.
    pub retro_fee_cap: Decimal,
    /// The ratios at which areas of vacant premises are charged.
    pub vacancy_ratios: VacancyRatios,
    /// The keys of personal data.
    pub personal: PersonalKeys,
    /// Whether a customer's phone is proved by a code; off lets any code pass.
    pub verify_codes: Switch,
    /// Charge-off.
    pub charge_off: Settings,
    /// Chunks of a run that a process works on at once.
    pub run_workers: usize,
    /// Streams of answers.
    pub portions: PortionLimits,
    /// Imports.
    pub uploads: UploadLimits,
    /// The clock; tests pass in a fixed one.
    pub clock: Clock,
}

/// A setting that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

impl FromStr for Switch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err("is neither on nor off"),
        }
    }
}

impl Config {
    /// Reads the settings; faults stay with the reader.
    pub fn read(reader: &mut Reader) -> Self {
        let database = DatabaseSettings::read(reader, DATABASE_URL);
        Self {
            replicas: database.read_replicas(reader, "billing_replica_url"),
            database,
            server: ServerSettings::read(
                reader,
                ("billing_addr", ADDRESS),
                ("billing_admin_addr", ADMIN_ADDRESS),
                "billing_identity_addr",
            ),
            arrears_cap: reader.parsed("arrears_cap", 10_000),
            import_lines: reader.parsed("import_lines", 2_000_000),
            reading_factor: reading_factor(reader),
            retro_fee_cap: above_zero(reader, "billing_retro_fee_cap", Decimal::from(1_000_000)),
            vacancy_ratios: reader.parsed("billing_vacancy_ratios", VacancyRatios::default()),
            personal: personal(reader),
            verify_codes: reader.parsed("billing_verify_codes", Switch::On),
            charge_off: charge_off(reader),
            run_workers: run_workers(reader),
            portions: PortionLimits::read(reader),
            uploads: UploadLimits::read(reader),
            clock: Clock::read(reader),
        }
    }
}

/// Reads the factor beyond which a reading is listed as a fault.
fn reading_factor(reader: &mut Reader) -> Decimal {
    const NAME: &str = "billing_reading_factor";
    let factor = reader.parsed(NAME, Decimal::from(3));
    if factor <= Decimal::ONE || factor > Decimal::from(1_000_000) {
        reader.fault(NAME, "is not above 1, or above 1000000");
    }
    factor
}

/// Reads a quantity or an amount that bounds others.
fn above_zero(reader: &mut Reader, name: &'static str, default: Decimal) -> Decimal {
    let bound = reader.parsed(name, default);
    if bound <= Decimal::ZERO || bound > Decimal::from(1_000_000_000_000_u64) {
        reader.fault(name, "is not above 0, or above 1000000000000");
    }
    bound
}

/// Reads how many chunks of a run a process works on at once: each needs a connection.
pub fn run_workers(reader: &mut Reader) -> usize {
    const WORKERS: &str = "billing_run_workers";
    let workers = reader.parsed(WORKERS, 2);
    if !(1..=16).contains(&workers) {
        reader.fault(WORKERS, "is not within 1 to 16");
    }
    workers
}

/// Reads the settings of charge-off.
pub fn charge_off(reader: &mut Reader) -> Settings {
    const GRACE: &str = "billing_grace_days";
    let bounds = Bounds::default();
    let settings = Settings {
        grace_days: reader.parsed(GRACE, ByUtility::all(15)),
        bounds: Bounds {
            quantity_factor: reader.parsed("billing_bill_factor", bounds.quantity_factor),
            first_movement: above_zero(reader, "billing_first_movement", bounds.first_movement),
            ..bounds
        },
        penalty_rates: PenaltyRates {
            of_other_utilities: reader.parsed("billing_penalty_rates", ByUtility::all(Decimal::new(1, 3))),
            ..PenaltyRates::default()
        },
        auto_draw: reader.parsed("billing_auto_draw", Switch::On) == Switch::On,
    };
    if settings.bounds.quantity_factor <= Decimal::ONE || settings.bounds.quantity_factor > Decimal::from(1_000_000) {
        reader.fault("billing_bill_factor", "is not above 1, or above 1000000");
    }
    settings
}

/// Reads the key of personal data, which must be set: without it no customer can be stored.
pub fn personal(reader: &mut Reader) -> PersonalKeys {
    let text = Secret::new(reader.required("sealing_key"));
    let key = SealingKey::parse(&text).unwrap_or_else(|error| {
        if !text.is_empty() {
            reader.fault("sealing_key", error);
        }
        SealingKey::generate()
    });
    PersonalKeys::new(key)
}
