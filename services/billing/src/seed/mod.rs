//! Demo data.
use communal_kit::clock::Clock;
use sqlx::PgPool;

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Volume {}

impl Volume {
    /// The demo.
    pub const DEMO: Self = Self {};
}

/// Loads.
///
/// # Errors
/// Never.
pub async fn demo(_: &PgPool, _: &Clock, _: &Volume) -> anyhow::Result<()> {
    Ok(())
}
