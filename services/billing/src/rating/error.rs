//! Why an account cannot be rated: each error names what is missing or does not fit.

use communal_proto::Coded as _;
use communal_proto::billing::v1::{BasicFeesType, ForRateValidType, ReadingsType, Reason, TurnUpsideType};
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
    #[error("the {0:?} is not given")]
    NotGiven(NeededFact),
}

/// A fact that decides an amount and has no neutral value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeededFact {
    /// The kind of the package.
    PackageKind,
    /// The kind of the run.
    RunKind,
    /// The season of the account month.
    Season,
    /// What a register counts.
    Register,
    /// The direction of a register.
    EnergyFlow,
}

impl RatingError {
    /// The reason for which an account is refused.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::OutOfRange => Reason::BillOutOfRange,
            Self::NoRegister(_) => Reason::RegisterNotRead,
            Self::RegisterTwice(_) | Self::Movement { .. } | Self::NotInRetro(_) | Self::NotGiven(_) => {
                Reason::BillingFactsUnfit
            }
            Self::NoPrice { .. }
            | Self::NoLimits { .. }
            | Self::NoSpacePrice(_)
            | Self::NoMeteredPrice
            | Self::NoBasicFeePrice(_)
            | Self::NoApprovalRatio
            | Self::NoPartMonthRule
            | Self::NoAdjustRatio { .. } => Reason::NotPriced,
        }
    }

    /// Describes it for people.
    #[must_use]
    pub fn chinese(&self) -> String {
        match self {
            Self::OutOfRange => "用量或金额超出范围".into(),
            Self::NoRegister(register) => format!("缺少{}示数", register.title()),
            Self::RegisterTwice(register) => format!("{}示数重复", register.title()),
            Self::Movement { register, turn } => format!("{}示数的表底与{}不符", register.title(), turn.title()),
            Self::NotInRetro(register) => format!("追补不计{}示数", register.title()),
            Self::NoPrice { season, period, tier } => {
                format!("缺少{}季、{}时段、{}的价格", season.title(), period.title(), tier.title())
            }
            Self::NoLimits { season, tier } => format!("缺少{}季{}的阶梯限值", season.title(), tier.title()),
            Self::NoSpacePrice(season) => format!("缺少{}季按面积或人口的价格", season.title()),
            Self::NoMeteredPrice => "套餐没有计量价格，不能计固定或分摊用量".into(),
            Self::NoBasicFeePrice(kind) => format!("缺少基本费（{}）的价格", kind.title()),
            Self::NoApprovalRatio => "缺少核定需量的比例".into(),
            Self::NoPartMonthRule => "缺少不足整月的计费规则".into(),
            Self::NoAdjustRatio { standard, power_factor } => {
                format!("缺少力率标准{}、力率{power_factor}的力调比例", standard.title())
            }
            Self::NotGiven(fact) => format!("未给出{}", fact.chinese()),
        }
    }
}

impl NeededFact {
    fn chinese(self) -> &'static str {
        match self {
            Self::PackageKind => "套餐类型",
            Self::RunKind => "正常或追补",
            Self::Season => "丰枯类型",
            Self::Register => "示数类型",
            Self::EnergyFlow => "能量流向",
        }
    }
}
