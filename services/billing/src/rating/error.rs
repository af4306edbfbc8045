//! Why an account cannot be rated: each error names what is missing or does not fit.

use communal_proto::billing::v1::{BasicFeesType, ForRateValidType, ReadingsType, TurnUpsideType};
use rust_decimal::Decimal;

use crate::vocabulary::tariff::{Period, Season, Tier};

/// Why an account has no bill. Nothing takes the place of what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RatingError {
    /// The decimals cannot hold the result.
    #[error("an amount is out of range")]
    OutOfRange,
    /// A register that the package or a parameter needs was not read.
    #[error("register {0:?} has no reading")]
    NoRegister(ReadingsType),
    /// A register stands twice among the facts.
    #[error("register {0:?} stands twice")]
    RegisterTwice(ReadingsType),
    /// The readings contradict the movement that is stated with them.
    #[error("the readings of register {register:?} do not move as {turn:?}")]
    Movement {
        /// The register.
        register: ReadingsType,
        /// Its stated movement.
        turn: TurnUpsideType,
    },
    /// A register whose quantity a retro run does not bill.
    #[error("register {0:?} is not billed in a retro run")]
    NotInRetro(ReadingsType),
    /// No price of energy.
    #[error("there is no price for season {season:?}, period {period:?}, tier {tier:?}")]
    NoPrice {
        /// The season.
        season: Season,
        /// The period of the day.
        period: Period,
        /// The tier.
        tier: Tier,
    },
    /// No limits of a tier that the quantity reaches, or a last tier with an end.
    #[error("there are no limits for season {season:?}, tier {tier:?}")]
    NoLimits {
        /// The season.
        season: Season,
        /// The tier.
        tier: Tier,
    },
    /// No price of the charge by area or by persons.
    #[error("there is no price by area or persons for season {0:?}")]
    NoSpacePrice(Season),
    /// A fixed or apportioned quantity, but no price of metered quantities.
    #[error("there is a fixed or apportioned quantity, but nothing metered is priced")]
    NoMeteredPrice,
    /// No price of the basic fee.
    #[error("there is no price of the basic fee {0:?}")]
    NoBasicFeePrice(BasicFeesType),
    /// An approved demand, but no ratio by which demand beyond it is billed.
    #[error("there is no approval ratio")]
    NoApprovalRatio,
    /// Supply began or stopped within the month, and no rule says how its basic fee is reduced.
    #[error("there is no part-month rule")]
    NoPartMonthRule,
    /// No row of the table of adjust ratios for a power factor.
    #[error("there is no adjust ratio for the standard {standard:?} and the power factor {power_factor}")]
    NoAdjustRatio {
        /// The standard of the account.
        standard: ForRateValidType,
        /// The power factor that was reached.
        power_factor: Decimal,
    },
    /// A code that is not given although it decides the amount.
    #[error("the {0} is not given")]
    NotGiven(&'static str),
}
