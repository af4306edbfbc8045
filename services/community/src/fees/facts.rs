//! The facts behind the amounts of stored fees, and the amounts themselves. Pure: the store reads the
//! facts of any number of fees by a constant number of statements.
//!
//! Quotes, lists, arrears and bills all come here, so they cannot disagree.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;

use chrono::NaiveDateTime;
use communal_proto::community::v1::{DecimalPlace, FeeFlag, FeeState, Formula, PayerObjectType};
use rust_decimal::Decimal;

use super::store::{FeeRow, ObjectRow, ReadingRow};
use crate::amounts::fee::CourseError;
use crate::amounts::{
    AmountError, AmountRounding, Bill, Car, Contract, Course, Escalation, Fee, ItemTerms, OneOff, Owed, Payer, Pricing,
    Reading, Room, Running, Span,
};
use crate::fee_items::store::ItemRow;

/// Facts of fees.
#[derive(Debug, Default)]
pub struct Facts {
    /// Fee items by identifier.
    pub items: HashMap<String, ItemRow>,
    terms: HashMap<String, ItemTerms>,
    objects: HashMap<String, Object>,
    /// The reading of each fee that charges by one.
    pub readings: HashMap<String, ReadingRow>,
    /// Spans that are paid beyond the paid-through time, by fee.
    pub paid: HashMap<String, Vec<Span>>,
}

/// A payer object.
#[derive(Debug)]
pub struct Object {
    /// Name.
    pub name: String,
    /// Built-up area, of a contract the sum of its rooms.
    pub built_up_area: Option<Decimal>,
    payer: Payer,
}

/// The reason why a fee has no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAmount {
    /// The formula has no value.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// The times of the fee contradict each other.
    #[error(transparent)]
    Course(#[from] CourseError),
    /// The item or the payer object of the fee is gone, or is of a kind without fees.
    #[error("the fee has no item or payer object that can be charged")]
    NotChargeable,
}

impl NoAmount {
    /// The reason in Chinese.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Amount(AmountError::Missing { fact: crate::amounts::Fact::Reading, .. }) => "抄表数据异常".to_owned(),
            Self::Amount(error) => error.text(),
            Self::Course(_) => "费用时间异常".to_owned(),
            Self::NotChargeable => "费用项或付费对象不能收费".to_owned(),
        }
    }
}

/// What a fee owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reckoned {
    /// The amount, with its steps.
    pub owed: Owed,
    /// The unit amount in force.
    pub unit: Decimal,
    /// The paid-through time as it is shown.
    pub paid_through: NaiveDateTime,
}

impl Facts {
    /// The facts of items and payer objects; `contract_rooms` are the rooms of contracts.
    #[must_use]
    pub fn new(items: Vec<ItemRow>, objects: &[ObjectRow], contract_rooms: &[(String, String)]) -> Self {
        let rows: HashMap<&str, &ObjectRow> = objects.iter().map(|row| (row.payer_obj_id.as_str(), row)).collect();
        let mut rooms_of: HashMap<&str, Vec<Room>> = HashMap::new();
        for (contract, room) in contract_rooms {
            let room = rows.get(room.as_str()).map(|row| room_of(row)).unwrap_or_default();
            rooms_of.entry(contract).or_default().push(room);
        }
        let object = |row: &ObjectRow| {
            let payer = match row.payer_obj_type.0 {
                PayerObjectType::Room => Payer::Room(room_of(row)),
                PayerObjectType::Car => {
                    Payer::Car(Car { space_area: row.built_up_area, community_area: row.community_area })
                }
                PayerObjectType::Contract => {
                    Payer::Contract(Contract { rooms: rooms_of.remove(row.payer_obj_id.as_str()).unwrap_or_default() })
                }
                PayerObjectType::Listing | PayerObjectType::Unspecified => return None,
            };
            let built_up_area = match &payer {
                Payer::Contract(contract) => contract.rooms.iter().map(|room| room.built_up_area).sum(),
                _ => row.built_up_area,
            };
            Some((row.payer_obj_id.clone(), Object { name: row.name.clone(), built_up_area, payer }))
        };
        let mut object = object;
        Self {
            objects: objects.iter().filter_map(&mut object).collect(),
            terms: items.iter().filter_map(|item| Some((item.config_id.clone(), terms(item)?))).collect(),
            items: items.into_iter().map(|item| (item.config_id.clone(), item)).collect(),
            ..Self::default()
        }
    }

    /// The payer object of a fee.
    #[must_use]
    pub fn object(&self, row: &FeeRow) -> Option<&Object> {
        self.objects.get(&row.payer_obj_id)
    }

    /// The decimals of the amounts of an item.
    #[must_use]
    pub fn places(&self, config_id: &str) -> u32 {
        self.terms.get(config_id).map_or(2, |terms| terms.rounding.places)
    }

    /// Computes what a fee owes at `now`. A `target` replaces the due instant of a periodic or indirect
    /// fee: it is the last day to charge.
    ///
    /// # Errors
    /// Returns the reason if the fee has no amount.
    pub fn reckon(
        &self,
        row: &FeeRow,
        now: NaiveDateTime,
        target: Option<chrono::NaiveDate>,
    ) -> Result<Reckoned, NoAmount> {
        self.priced(row, |pricing, fee| {
            let paid_through = match &fee.course {
                Course::Running(running) => running.paid_through(),
                Course::OneOff(_) | Course::Bill(_) => row.end_time,
            };
            Ok(Reckoned { owed: pricing.owed(now, target)?, unit: pricing.unit_in_force()?, paid_through })
        })?
    }

    /// Applies `f` to the prices of a fee.
    ///
    /// # Errors
    /// Returns the reason if the fee has no amount.
    pub fn priced<T>(&self, row: &FeeRow, f: impl FnOnce(&Pricing<'_>, &Fee) -> T) -> Result<T, NoAmount> {
        let terms = self.terms.get(&row.config_id).ok_or(NoAmount::NotChargeable)?;
        let object = self.object(row).ok_or(NoAmount::NotChargeable)?;
        let fee = self.fee(row)?;
        let pricing = Pricing::new(terms, &object.payer, &fee)?;
        Ok(f(&pricing, &fee))
    }

    fn fee(&self, row: &FeeRow) -> Result<Fee, NoAmount> {
        let course = match (row.rule_start, row.bill_until) {
            (Some(rule_start), Some(until)) => {
                Course::Bill(Bill { rule_start, span: Span { from: row.start_time.date(), until } })
            }
            _ if row.fee_flag.0 == FeeFlag::OneOff => {
                Course::OneOff(OneOff { start: row.start_time, deadline: row.deadline_time })
            }
            _ => {
                let paid = self.paid.get(&row.fee_id).cloned().unwrap_or_default();
                let limit = row.deadline_time;
                Course::Running(Running::new(row.start_time, row.end_time, Some(limit), limit, paid)?)
            }
        };
        let reading = self.readings.get(&row.fee_id);
        Ok(Fee {
            course,
            ended: row.state.0 == FeeState::Ended,
            credit: row.credit,
            amount: row.amount,
            reading: reading.map(|r| Reading { previous: r.pre_degrees, current: r.cur_degrees, price: r.price }),
            escalation: escalation(row),
        })
    }
}

fn escalation(row: &FeeRow) -> Option<Escalation> {
    Some(Escalation {
        from: row.rate_start_time?,
        every: NonZeroU32::new(u32::try_from(row.rate_cycle?).ok()?)?,
        rate: row.rate?,
    })
}

fn room_of(row: &ObjectRow) -> Room {
    let attributes = row.attribute_numbers.iter().cloned().zip(row.attribute_values.iter().copied());
    Room {
        built_up_area: row.built_up_area,
        indoor_area: row.room_area,
        coefficient: row.fee_coefficient,
        storey: Some(Decimal::from(row.layer)),
        rent: row.room_rent,
        community_area: row.community_area,
        building_area: row.building_area,
        unit_area: row.unit_area,
        attributes: attributes.collect::<BTreeMap<_, _>>(),
    }
}

/// The terms of an item as amounts take them; `None` if a stored number cannot be one.
#[must_use]
pub fn terms(item: &ItemRow) -> Option<ItemTerms> {
    Some(ItemTerms {
        formula: item.computing_formula.0,
        // A text that does not parse is a missing one, which is an error of the amount.
        expression: match item.computing_formula.0 {
            Formula::Custom => item.computing_formula_text.as_ref().and_then(|text| text.parse().ok()),
            _ => None,
        },
        price: item.square_price,
        additional_amount: item.additional_amount,
        timing: item.payment_cd.0,
        cycle: NonZeroU32::new(u32::try_from(item.payment_cycle).ok()?)?,
        window_days: u32::try_from(item.prepayment_period.unwrap_or_default()).ok()?,
        rounding: AmountRounding { mode: item.scale.0, places: places(item.decimal_place.0) },
    })
}

/// The number of decimals that a code means; two if it is not given.
#[must_use]
pub fn places(place: DecimalPlace) -> u32 {
    match place {
        DecimalPlace::Zero => 0,
        DecimalPlace::One => 1,
        DecimalPlace::Two | DecimalPlace::Unspecified => 2,
        DecimalPlace::Three => 3,
        DecimalPlace::Four => 4,
    }
}
