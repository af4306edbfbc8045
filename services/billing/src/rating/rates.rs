//! Everything that a package is priced by on one day: its price matrix, surcharges, ratios and rules.
//!
//! Rates are the same for all accounts of a package that are read on one day, so a run makes them once.

use std::num::NonZeroU32;

use chrono::NaiveDate;
use communal_proto::billing::v1::{BasicFeesType, ChargePackType, ForRateValidType};
use rust_decimal::Decimal;

use super::error::RatingError;
use super::hundredths::Hundredths;
use crate::vocabulary::tariff::{
    Dimensions, HeatBasis, Ladder, Period, PropertyBasis, Season, Shape, Tier, TierLimits, TimeOfUse, Utility, or,
    periods,
};

/// Most tiers of a ladder.
pub const MOST_TIERS: usize = 5;
/// Most periods of a day.
pub const MOST_PERIODS: usize = 5;
/// Codes of periods.
const PERIOD_CODES: usize = 6;
/// Seasons.
const SEASONS: usize = 3;

/// The rates of a package.
#[derive(Clone, Debug)]
pub struct Rates {
    /// Kind of the package. It decides which fee kinds a bill has.
    pub kind: ChargePackType,
    /// True if it is priced by season; otherwise everything is of the flat season.
    pub seasonal: bool,
    /// Category item of lines whose price row names none.
    pub main_item: i64,
    /// Category item of energy lines, where their price rows name one; `None` for the main item.
    pub energy_item: Option<i64>,
    /// Prices of metered quantities; `None` if nothing metered is priced.
    pub energy: Option<PriceMatrix>,
    /// Prices by area or persons.
    pub space: Option<SpacePrices>,
    /// Surcharges on the whole energy quantity.
    pub surcharges: Vec<SurchargePrice>,
    /// Kind of the basic fee.
    pub basic_fee_kind: BasicFeesType,
    /// Price of the basic fee.
    pub basic_fee: Option<ItemPrice>,
    /// How demand beyond the approved demand is billed.
    pub approval: Option<Approval>,
    /// Rows of the tables of adjust ratios, in any order.
    pub adjust_ratios: Vec<AdjustRow>,
    /// Rows by which persons raise the limits of a ladder.
    pub population_rows: Vec<PopulationRow>,
    /// Persons of a household whose number is not known.
    pub population: u32,
    /// Ratio of a charge by area while premises are vacant.
    pub vacancy_ratio: Decimal,
    /// Delivery prices.
    pub delivery: Option<PriceMatrix>,
}

impl Rates {
    /// Rates of a package without prices.
    #[must_use]
    pub fn new(kind: ChargePackType, main_item: i64) -> Self {
        Self {
            kind,
            seasonal: false,
            main_item,
            energy_item: None,
            energy: None,
            space: None,
            surcharges: Vec::new(),
            basic_fee_kind: BasicFeesType::None,
            basic_fee: None,
            approval: None,
            adjust_ratios: Vec::new(),
            population_rows: Vec::new(),
            population: 0,
            vacancy_ratio: Decimal::ONE,
            delivery: None,
        }
    }

    /// Takes the price rows of a package of this shape. A matrix that lacks rows is accepted: the bill that needs one of them
    /// is refused.
    ///
    /// # Errors
    /// Returns a [`RowError`] for a row whose position or limits do not fit the shape or the rows before it.
    pub fn with_rows(
        mut self,
        shape: &Shape,
        rows: impl IntoIterator<Item = (Dimensions, TierLimits, UnitPrice)>,
    ) -> Result<Self, RowError> {
        self.take_shape(shape);
        for (dimensions, limits, price) in rows {
            self.add_row(&dimensions, limits, price)?;
        }
        Ok(self)
    }

    /// Takes the shape of a package: which matrices it has. They have no price yet.
    pub fn take_shape(&mut self, shape: &Shape) {
        self.seasonal = shape.seasonal;
        let by_space = match (shape.utility, shape.property_basis) {
            (Utility::Property, PropertyBasis::Population) => Some(SpaceBasis::Population),
            (Utility::Property, PropertyBasis::Area) => Some(SpaceBasis::Area),
            _ => None,
        };
        for &heat_basis in shape.heat_bases() {
            match (by_space, heat_basis) {
                (Some(basis), _) => self.space = Some(SpacePrices::new(basis)),
                (None, HeatBasis::Area) => self.space = Some(SpacePrices::new(SpaceBasis::Area)),
                (None, _) => self.energy = Some(PriceMatrix::new(shape.time_of_use, shape.ladder)),
            }
        }
    }

    /// Adds a price row.
    ///
    /// # Errors
    /// Returns a [`RowError`] if its position or limits do not fit the shape or the rows before it.
    pub fn add_row(&mut self, dimensions: &Dimensions, limits: TierLimits, price: UnitPrice) -> Result<(), RowError> {
        let Dimensions { season, period, tier, heat_basis, .. } = *dimensions;
        match (&mut self.space, &mut self.energy) {
            (Some(space), energy) if energy.is_none() || heat_basis == HeatBasis::Area => space.set(season, price),
            (_, Some(energy)) => energy.set(season, period, tier, limits, price),
            (Some(_) | None, None) => Err(RowError::Position),
        }
    }
}

/// A price row that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Its season, period or tier is not one of the matrix.
    #[error("the position is not one of the matrix")]
    Position,
    /// A row of this position was given before.
    #[error("the position is given twice")]
    Twice,
    /// Another period of the season has other limits for the tier, or they do not go up from the tier before.
    #[error("the limits do not fit those of the other rows")]
    Limits,
}

/// A unit price of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitPrice {
    /// The price.
    pub price: Decimal,
    /// First day of the version; `None` if it has none yet.
    pub start: Option<NaiveDate>,
    /// Number of the version in the catalogue, whose versions note that they were billed; `None` of other prices.
    pub version: Option<i64>,
}

/// Prices by season, period of the day and tier, and the limits of the tiers.
#[derive(Clone, Debug)]
pub struct PriceMatrix {
    time_of_use: TimeOfUse,
    ladder: Ladder,
    prices: Box<[[[Option<UnitPrice>; PERIOD_CODES]; MOST_TIERS]; SEASONS]>,
    limits: [[Option<TierLimits>; MOST_TIERS]; SEASONS],
}

impl PriceMatrix {
    /// A matrix without prices.
    #[must_use]
    pub fn new(time_of_use: TimeOfUse, ladder: Ladder) -> Self {
        Self {
            time_of_use: or(time_of_use, TimeOfUse::One),
            ladder: or(ladder, Ladder::None),
            prices: Box::new([[[None; PERIOD_CODES]; MOST_TIERS]; SEASONS]),
            limits: [[None; MOST_TIERS]; SEASONS],
        }
    }

    /// Sets a price with the limits of its tier.
    ///
    /// # Errors
    /// Returns a [`RowError`] if the position is none of the matrix or has a price, or if another period of the season has
    /// other limits.
    pub fn set(
        &mut self,
        season: Season,
        period: Period,
        tier: Tier,
        limits: TierLimits,
        price: UnitPrice,
    ) -> Result<(), RowError> {
        if !self.periods().contains(&period) || (self.ladder == Ladder::None && tier != Tier::First) {
            return Err(RowError::Position);
        }
        let (season, tier) = (place(season.into()), place(tier.into()));
        let of_tier = season.zip(tier).and_then(|(season, tier)| self.limits.get_mut(season)?.get_mut(tier));
        let of_tier = of_tier.ok_or(RowError::Position)?;
        if self.ladder != Ladder::None && *of_tier.get_or_insert(limits) != limits {
            return Err(RowError::Limits);
        }
        let cell = season.zip(tier).zip(place(period.into()));
        let cell = cell.and_then(|((s, t), p)| self.prices.get_mut(s)?.get_mut(t)?.get_mut(p));
        let cell = cell.ok_or(RowError::Position)?;
        if cell.is_some() {
            return Err(RowError::Twice);
        }
        *cell = Some(price);
        Ok(())
    }

    /// Sets a price that counts in every season.
    ///
    /// # Errors
    /// As [`PriceMatrix::set`].
    pub fn set_in_every_season(
        &mut self,
        period: Period,
        tier: Tier,
        limits: TierLimits,
        price: UnitPrice,
    ) -> Result<(), RowError> {
        [Season::Abundant, Season::Flat, Season::Withered]
            .into_iter()
            .try_for_each(|season| self.set(season, period, tier, limits, price))
    }

    /// The periods of the day that are priced apart.
    #[must_use]
    pub fn periods(&self) -> &'static [Period] {
        periods(self.time_of_use)
    }

    /// The number of periods of the day.
    #[must_use]
    pub fn time_of_use(&self) -> TimeOfUse {
        self.time_of_use
    }

    /// The kind of its ladder.
    #[must_use]
    pub fn ladder(&self) -> Ladder {
        self.ladder
    }

    /// The price at a position.
    ///
    /// # Errors
    /// Returns `NoPrice` if there is none.
    pub fn price(&self, season: Season, period: Period, tier: Tier) -> Result<UnitPrice, RatingError> {
        let places = place(season.into()).zip(place(tier.into())).zip(place(period.into()));
        let price = places.and_then(|((season, tier), period)| *self.prices.get(season)?.get(tier)?.get(period)?);
        price.ok_or(RatingError::NoPrice { season, period, tier })
    }

    /// The limits of the tiers of a season, from the first, up to the first that is not given.
    pub(super) fn limits(&self, season: Season) -> impl Iterator<Item = TierLimits> + '_ {
        let of_season = place(season.into()).and_then(|season| self.limits.get(season));
        of_season.into_iter().flatten().map_while(|limits| *limits)
    }
}

/// The place of a code in a list of codes from 1.
fn place(code: i32) -> Option<usize> {
    usize::try_from(code).ok()?.checked_sub(1)
}

/// What a charge that is not metered counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceBasis {
    /// Square metres.
    Area,
    /// Persons.
    Population,
}

/// Prices of a charge by area or persons, by season.
#[derive(Clone, Debug)]
pub struct SpacePrices {
    /// What is counted.
    pub basis: SpaceBasis,
    prices: [Option<UnitPrice>; SEASONS],
}

impl SpacePrices {
    /// No prices.
    #[must_use]
    pub fn new(basis: SpaceBasis) -> Self {
        Self { basis, prices: [None; SEASONS] }
    }

    /// Sets the price of a season.
    ///
    /// # Errors
    /// Returns a [`RowError`] if there is no such season or it has a price.
    pub fn set(&mut self, season: Season, price: UnitPrice) -> Result<(), RowError> {
        let of_season = place(season.into()).and_then(|season| self.prices.get_mut(season));
        match of_season.ok_or(RowError::Position)? {
            Some(_) => Err(RowError::Twice),
            none => {
                *none = Some(price);
                Ok(())
            }
        }
    }

    /// The price of a season.
    ///
    /// # Errors
    /// Returns `NoSpacePrice` if there is none.
    pub fn price(&self, season: Season) -> Result<UnitPrice, RatingError> {
        let price = place(season.into()).and_then(|season| *self.prices.get(season)?);
        price.ok_or(RatingError::NoSpacePrice(season))
    }
}

/// A price of the catalogue with the category item on which its line is booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemPrice {
    /// Category item.
    pub category_item: i64,
    /// Price.
    pub price: UnitPrice,
}

/// An attached price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurchargePrice {
    /// Main item to which it is attached.
    pub category_item: i64,
    /// Surcharge item.
    pub surcharge_item: i64,
    /// Price.
    pub price: UnitPrice,
}

/// How demand beyond the approved demand is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The ratio of the approved demand that is billed plainly, at least 1.
    pub ratio: Decimal,
    /// The factor of what lies beyond it, at least 1.
    pub factor: Decimal,
}

/// A row of a table of adjust ratios.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdjustRow {
    /// The standard of the table.
    pub standard: ForRateValidType,
    /// The least power factor of the row.
    pub power_factor: Decimal,
    /// The ratio: negative for a reward.
    pub ratio: Decimal,
    /// Category item of the line; `None` for the main item.
    pub category_item: Option<i64>,
    /// First day of the row.
    pub start: Option<NaiveDate>,
}

/// A row of ladder population.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PopulationRow {
    /// The largest population whose limits are those of the price rows.
    pub base: u32,
    /// Persons that make one increment.
    pub increment: NonZeroU32,
    /// What each increment adds to every finite limit; negative where limits fall.
    pub increase: Hundredths,
}
