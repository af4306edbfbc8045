//! From a billing point to its bill: which package prices it on which day, which facts rating takes of it, and the calculation
//! that follows. Pure: rates and accumulators are passed in, so a run computes a book in memory by the same functions as a call.

use chrono::NaiveDate;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{EnergyFlowType, NormalRetroType, ReadingsType, Reason};
use rust_decimal::Decimal;

use super::rates::{PriceKey, PricedBy, Unpriced};
use super::stored::{Calculation, Terms};
use crate::archive::accumulators::AccountAccumulators;
use crate::archive::billable::TemporaryPackage;
use crate::metering::points::PointKey;
use crate::metering::points::snapshot::{BilledPackage, PointRegister, Snapshot};
use crate::metering::readings::stored::Readings;
use crate::rating::error::NeededFact;
use crate::rating::temporary::{PackageInForce, package_in_force};
use crate::rating::{Accumulators, Bill, BillFacts, Movement, Parameters, RatingError, RegisterFacts, Supply, rate};
use crate::vocabulary::dates::{AccountMonth, day};
use crate::vocabulary::tariff::YesNo;

/// A point with everything that decides its bill but prices.
#[derive(Clone, Copy, Debug)]
pub struct PointFacts<'p> {
    /// Its key.
    pub key: &'p PointKey,
    /// What it holds.
    pub snapshot: &'p Snapshot,
    /// Its readings; none of a retro point.
    pub readings: &'p Readings,
    /// The accumulators of its account.
    pub accumulators: AccountAccumulators,
    /// The months in which its temporary package priced the account; see [`temporary_months_used`].
    pub temporary_months_used: i32,
}

/// Why a point has no calculation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Uncalculated {
    /// Registers that run forward are not read.
    #[error("registers without a reading: {}", codes(.0))]
    NotRead(Vec<ReadingsType>),
    /// Something that prices it is missing or does not fit.
    #[error(transparent)]
    Unpriced(#[from] Unpriced),
    /// A figure has more digits than are kept.
    #[error("a figure is beyond 18 digits")]
    BeyondDigits,
}

/// Lists registers by their documented codes.
fn codes(registers: &[ReadingsType]) -> String {
    registers.iter().map(|register| register.code()).collect::<Vec<_>>().join(", ")
}

impl From<RatingError> for Uncalculated {
    fn from(error: RatingError) -> Self {
        Self::Unpriced(error.into())
    }
}

impl Uncalculated {
    /// The reason for which the point is refused.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotRead(_) => Reason::RegisterNotRead,
            Self::Unpriced(unpriced) => unpriced.reason(),
            Self::BeyondDigits => Reason::BillOutOfRange,
        }
    }

    /// Describes it for people.
    #[must_use]
    pub fn chinese(&self) -> String {
        match self {
            Self::NotRead(registers) => {
                let titles: Vec<_> = registers.iter().map(|register| register.title()).collect();
                format!("缺少{}示数", titles.join("、"))
            }
            Self::Unpriced(unpriced) => unpriced.chinese(),
            Self::BeyondDigits => RatingError::OutOfRange.chinese(),
        }
    }
}

/// The package that prices a point, and the day whose prices are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pricing {
    /// What the rates are looked up by.
    pub key: PriceKey,
    /// True if it is the temporary package.
    pub temporary: bool,
}

/// The months in which the temporary package of a point priced its account. Charge-off counts them beside the parameters that
/// the account has now; a point that holds another temporary package keeps the count that it was made with.
#[must_use]
pub fn temporary_months_used(snapshot: &Snapshot, now: &TemporaryPackage) -> i32 {
    let held = snapshot.temporary_package.as_ref();
    let is_same = held.is_some_and(|held| {
        now.company_id.as_deref() == Some(held.retail_company_id.as_str())
            && now.package_id.as_deref() == Some(held.package_id.as_str())
            && now.months == snapshot.temporary_months
    });
    if is_same { now.months_used } else { snapshot.temporary_months_used }
}

/// Decides the package and the day of a point. The day is the latest on which a register that is billed was read; without a
/// meter, and for a retro point, it is today.
///
/// # Errors
/// Returns `NotRead` with all forward registers that have no reading.
pub fn pricing(point: &PointFacts<'_>, today: NaiveDate) -> Result<Pricing, Uncalculated> {
    let PointFacts { key, snapshot, readings, temporary_months_used, .. } = *point;
    let is_read = key.kind == NormalRetroType::Normal && snapshot.meter.is_some();
    let day = if is_read {
        let forward = snapshot.registers.iter().filter(|register| register.flow() == EnergyFlowType::Forward);
        let unread = forward.filter(|register| readings.of((register.flow(), register.register())).is_none());
        let unread: Vec<_> = unread.map(PointRegister::register).collect();
        if !unread.is_empty() {
            return Err(Uncalculated::NotRead(unread));
        }
        readings.latest_day().and_then(day).unwrap_or(today)
    } else {
        today
    };
    let no_package = || Uncalculated::from(RatingError::NotGiven(NeededFact::PackageKind));
    let main = snapshot.main_package.as_ref().ok_or_else(no_package)?;
    let months = |number: i32| u32::try_from(number).unwrap_or_default();
    let in_force = package_in_force(months(snapshot.temporary_months), months(temporary_months_used));
    let (package, temporary) = match (in_force, &snapshot.temporary_package) {
        (PackageInForce::Temporary, Some(temporary)) => (temporary, true),
        _ => (main, false),
    };
    Ok(Pricing { key: price_key(key, snapshot, package, day), temporary })
}

fn price_key(key: &PointKey, snapshot: &Snapshot, package: &BilledPackage, day: NaiveDate) -> PriceKey {
    PriceKey {
        retail_company_id: package.retail_company_id.clone(),
        package_id: package.package_id.clone(),
        network_company_id: snapshot.network_company_id.clone(),
        network_store_id: snapshot.network_store_id.clone(),
        utility: snapshot.utility(),
        account_month: key.account_month,
        day,
    }
}

impl Pricing {
    /// The package among those of the point.
    #[must_use]
    pub fn package<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s BilledPackage> {
        package_of(snapshot, self.temporary)
    }
}

/// The package of a point that prices it.
#[must_use]
pub fn package_of(snapshot: &Snapshot, temporary: bool) -> Option<&BilledPackage> {
    if temporary { snapshot.temporary_package.as_ref() } else { snapshot.main_package.as_ref() }
}

/// The bill of a point.
///
/// # Errors
/// Returns the error of rating.
pub fn bill(point: &PointFacts<'_>, priced: &PricedBy) -> Result<Bill, Uncalculated> {
    let PointFacts { key, snapshot, readings, accumulators, .. } = *point;
    let registers: Vec<_> = snapshot
        .registers
        .iter()
        .filter_map(|register| register_facts(register, snapshot, readings, key.kind))
        .collect();
    let facts = BillFacts {
        account_month: AccountMonth::read(key.account_month).ok_or(RatingError::OutOfRange)?,
        run_kind: key.kind,
        season: priced.season,
        accumulators: Accumulators {
            last: accumulators.account_month.and_then(AccountMonth::read),
            year: accumulators.year_quantity,
            month: accumulators.month_quantity,
        },
        metered: snapshot.meter.is_some(),
        registers: &registers,
        parameters: parameters(snapshot, priced)?,
    };
    Ok(rate(&facts, &priced.rates)?)
}

/// The calculation of a point, made on a day at a time (HHmmss).
///
/// # Errors
/// Returns the error of rating, and `BeyondDigits` if a figure cannot be kept.
pub fn calculated(
    point: &PointFacts<'_>,
    pricing: &Pricing,
    priced: &PricedBy,
    now: (NaiveDate, i32),
) -> Result<Calculation, Uncalculated> {
    let terms = Terms {
        calculated: now,
        priced_on: pricing.key.day,
        temporary: pricing.temporary,
        temporary_months_used: point.temporary_months_used,
        accumulator_version: point.accumulators.version,
    };
    Calculation::of(&bill(point, priced)?, &terms).map_err(|_| Uncalculated::BeyondDigits)
}

/// What a register counted: between two readings where it is read, else what meters before it measured and what is added. A
/// register in reverse may be unread; it is not billed.
fn register_facts(
    register: &PointRegister,
    snapshot: &Snapshot,
    readings: &Readings,
    kind: NormalRetroType,
) -> Option<RegisterFacts> {
    let movement = match (&snapshot.meter, kind) {
        (Some(meter), NormalRetroType::Normal) => {
            let read = readings.of((register.flow(), register.register()))?;
            Some(Movement {
                last: register.last_reading(),
                this: read.reading(),
                turn: read.turn(),
                digits: u32::try_from(meter.digits).unwrap_or_default(),
                multiplier: meter.multiplier(),
            })
        }
        _ => None,
    };
    let old = if kind == NormalRetroType::Normal { register.old_quantity() } else { Decimal::ZERO };
    Some(RegisterFacts {
        register: register.register(),
        flow: register.flow(),
        movement,
        // No documented call gives a quantity to deduct.
        reduced: Decimal::ZERO,
        old,
        added: register.added_quantity(),
    })
}

fn parameters(snapshot: &Snapshot, priced: &PricedBy) -> Result<Parameters, RatingError> {
    Ok(Parameters {
        population: u32::try_from(snapshot.population).map_err(|_| RatingError::OutOfRange)?,
        fixed_quantity: snapshot.fixed_quantity(),
        apportioned_quantity: snapshot.apportioned_total(),
        apportion_ratio: snapshot.apportion_ratio(),
        divided_quantity: snapshot.divided_quantity(),
        fixed_fee: snapshot.fixed_fee(),
        retro_fee: snapshot.retro_fee(),
        apportioned_fee: snapshot.apportioned_fee(),
        division_ratio: snapshot.division_ratio(),
        divided_fee: snapshot.divided_fee(),
        capacity: snapshot.capacity(),
        approved_demand: snapshot.approved_demand(),
        demand_multiplier: snapshot.demand_multiplier(),
        power_factor_standard: snapshot.power_factor_standard(),
        area: snapshot.area(),
        area_factor: snapshot.area_factor(),
        supply: Supply {
            from: day(snapshot.archived_on),
            until: day(snapshot.closed_on),
            stopped: snapshot.stopped_or_vacant() == YesNo::Yes,
            stopped_from: day(snapshot.stopped_on),
            resupplied_from: day(snapshot.resumed_on),
            rule: priced.part_month_rule,
        },
    })
}
