//! The terms of a tariff: the shape of a package and the dimensions of its price rows.
//!
//! A package's prices are a matrix of season × period of the day × tier. The *ladder* is the kind of
//! steps (阶梯类型: by year, by month, none), a *tier* is one step of it (阶梯级次). A tier covers the
//! quantities (lower, upper].

use std::str::FromStr;

use communal_proto::Coded as _;
pub use communal_proto::billing::v1::{
    AbundanceType as Season, GarbChargeType as PropertyBasis, HeatChargeType as HeatBasis, LadderLevelType as Tier,
    LadderType as Ladder, NetworkType as Utility, TimeFeesType as TimeOfUse, TimeSharingType as Period, YesNo,
};

/// A value for each utility: one for all, and others for some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByUtility<T> {
    all: T,
    some: Vec<(Utility, T)>,
}

impl<T> ByUtility<T> {
    /// One value for all utilities.
    #[must_use]
    pub fn all(value: T) -> Self {
        Self { all: value, some: Vec::new() }
    }

    /// The value of a utility.
    #[must_use]
    pub fn of(&self, utility: Utility) -> &T {
        self.some.iter().find(|(of, _)| *of == utility).map_or(&self.all, |(_, value)| value)
    }
}

/// Reads values like `15` or `15,1=30,3=20`: that of all utilities, then those of documented codes of utilities.
impl<T: FromStr> FromStr for ByUtility<T> {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "is no value, or list like 15,1=30 of a value and those of utilities";
        let mut parts = text.split(',').map(str::trim);
        let all = parts.next().and_then(|all| all.parse().ok()).ok_or(FORM)?;
        let mut some = Vec::new();
        for part in parts {
            let (code, value) = part.split_once('=').ok_or(FORM)?;
            let utility = Utility::from_code(code).ok_or("names an unknown utility")?;
            if some.iter().any(|(of, _)| *of == utility) {
                return Err("names a utility twice");
            }
            some.push((utility, value.parse().map_err(|_| FORM)?));
        }
        Ok(Self { all, some })
    }
}

/// The properties of a package that decide which prices it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Account item: the tariff class.
    pub account_item: String,
    /// Utility.
    pub utility: Utility,
    /// Yes if the price was agreed with the customer.
    pub agreement_price: YesNo,
    /// True if priced by season.
    pub seasonal: bool,
    /// Basis of the heat charge.
    pub heat_basis: HeatBasis,
    /// Basis of the property and garbage charge.
    pub property_basis: PropertyBasis,
    /// Number of periods of the day that are priced apart.
    pub time_of_use: TimeOfUse,
    /// Kind of the ladder: tiers by year, by month, or none.
    pub ladder: Ladder,
    /// Number of tiers; 1 without a ladder.
    pub tiers: i32,
}

impl Shape {
    /// The seasons that are priced.
    #[must_use]
    pub fn seasons(&self) -> &'static [Season] {
        if self.seasonal { &[Season::Abundant, Season::Flat, Season::Withered] } else { &[Season::Flat] }
    }

    /// The periods of the day that are priced apart.
    #[must_use]
    pub fn periods(&self) -> &'static [Period] {
        periods(self.time_of_use)
    }

    /// The tiers, from the first.
    pub fn tiers(&self) -> impl Iterator<Item = Tier> + use<> {
        (1..=self.tiers.max(1)).filter_map(|tier| Tier::try_from(tier).ok())
    }

    /// The heat bases of its price rows: a charge by area and metered heat is priced in two parts.
    #[must_use]
    pub fn heat_bases(&self) -> &'static [HeatBasis] {
        match self.heat_basis {
            HeatBasis::None | HeatBasis::Unspecified => &[HeatBasis::None],
            HeatBasis::Area => &[HeatBasis::Area],
            HeatBasis::Heat => &[HeatBasis::Heat],
            HeatBasis::AreaAndHeat => &[HeatBasis::Area, HeatBasis::Heat],
        }
    }

    /// The shape of its price rows of one heat basis. A ladder and a time of use are of what is metered, so the
    /// price of an area has neither.
    #[must_use]
    pub fn part(&self, heat_basis: HeatBasis) -> Self {
        let part = Self { heat_basis, ..self.clone() };
        match heat_basis {
            HeatBasis::Area => Self { time_of_use: TimeOfUse::One, ladder: Ladder::None, tiers: 1, ..part },
            _ => part,
        }
    }

    /// The dimensions of a price row at a position of the matrix.
    #[must_use]
    pub fn dimensions(&self, season: Season, period: Period, tier: Tier) -> Dimensions {
        Dimensions {
            account_item: self.account_item.clone(),
            agreement_price: self.agreement_price,
            season,
            heat_basis: self.heat_basis,
            property_basis: self.property_basis,
            time_of_use: self.time_of_use,
            period,
            ladder: self.ladder,
            tier,
        }
    }
}

/// The periods of the day that a time of use prices apart.
#[must_use]
pub fn periods(time_of_use: TimeOfUse) -> &'static [Period] {
    use Period::{DeepValley, Flat, Peak, Sharp, Valley, Whole};
    match time_of_use {
        TimeOfUse::One | TimeOfUse::Unspecified => &[Whole],
        TimeOfUse::Two => &[Peak, Valley],
        TimeOfUse::Three => &[Peak, Flat, Valley],
        TimeOfUse::Four => &[Peak, Flat, Valley, Sharp],
        TimeOfUse::Five => &[Peak, Flat, Valley, Sharp, DeepValley],
    }
}

/// Returns the code, or `default` if it was not given.
#[must_use]
pub fn or<E: Default + PartialEq>(code: E, default: E) -> E {
    if code == E::default() { default } else { code }
}

/// The nine dimensions that name a price row within its package.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dimensions {
    /// Account item: the tariff class.
    pub account_item: String,
    /// Yes if the price was agreed with the customer.
    pub agreement_price: YesNo,
    /// Season; flat if the package has none.
    pub season: Season,
    /// Basis of the heat charge.
    pub heat_basis: HeatBasis,
    /// Basis of the property and garbage charge.
    pub property_basis: PropertyBasis,
    /// Number of periods of the day that are priced apart.
    pub time_of_use: TimeOfUse,
    /// Period of the day; the whole day if the package has none.
    pub period: Period,
    /// Kind of the ladder: tiers by year, by month, or none.
    pub ladder: Ladder,
    /// Tier; the first if the package has no ladder.
    pub tier: Tier,
}

/// The quantities that a tier covers: (lower, upper], without end where upper is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierLimits {
    /// Units below the tier.
    pub lower: i64,
    /// Last unit of the tier; 0 for no end.
    pub upper: i64,
}

impl TierLimits {
    /// Returns true if the tier covers anything.
    #[must_use]
    pub fn are_forward(self) -> bool {
        self.upper == 0 || self.lower < self.upper
    }
}
