//! The unit amount: what one month, or a one-off fee, costs before months and rounding, by every
//! documented formula and at full precision.
//!
//! A fact that the formula needs and the caller does not have is an error that names it. It is never zero, which
//! would be billed.

use std::cell::RefCell;

use communal_proto::Coded;
use communal_proto::community::v1::{Formula, PayerObjectType};
use rust_decimal::Decimal;

use super::formula::{EvaluationError, Expression, Variable};
use super::{Fee, ItemTerms, Payer, Reading, Room};

/// A fact that a formula reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A variable of the formula grammar.
    Variable(Variable),
    /// Indoor area (室内面积).
    IndoorArea,
    /// Rent of a month (租金).
    Rent,
    /// The amount stored with the fee (费用金额).
    StoredAmount,
    /// The meter reading (抄表).
    Reading,
    /// The previous degrees (上期读数).
    PreviousDegrees,
    /// The current degrees (本期读数).
    CurrentDegrees,
    /// The unit price stored with the reading (抄表单价).
    ReadingPrice,
    /// The escalation of the rent (租金递增).
    Escalation,
    /// The custom formula (自定义公式).
    Expression,
    /// The rooms of a contract (合同房屋).
    Rooms,
}

impl Fact {
    /// The name of the fact, in Chinese.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Variable(Variable::CommunityArea) => "小区面积",
            Self::Variable(Variable::BuildingArea) => "楼栋面积",
            Self::Variable(Variable::UnitArea) => "单元面积",
            Self::Variable(Variable::BuiltUpArea) => "建筑面积",
            Self::Variable(Variable::Coefficient) => "算费系数",
            Self::Variable(Variable::Storey) => "楼层",
            Self::Variable(Variable::RoomAttribute(number)) => return format!("房屋属性{number}"),
            Self::Variable(Variable::Price) => "单价",
            Self::Variable(Variable::AdditionalAmount) => "附加费",
            Self::IndoorArea => "室内面积",
            Self::Rent => "租金",
            Self::StoredAmount => "费用金额",
            Self::Reading => "抄表数据",
            Self::PreviousDegrees => "上期读数",
            Self::CurrentDegrees => "本期读数",
            Self::ReadingPrice => "抄表单价",
            Self::Escalation => "租金递增",
            Self::Expression => "自定义公式",
            Self::Rooms => "合同房屋",
        }
        .to_owned()
    }
}

/// A value that was put into the formula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The room of a contract that it belongs to, counted from 0.
    pub room: Option<usize>,
    /// The fact.
    pub fact: Fact,
    /// Its value.
    pub value: Decimal,
}

/// A unit amount with the values behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The amount, unrounded. That of an escalating rent is the rent before it rises.
    pub amount: Decimal,
    /// The values that were put into the formula, in the order in which it reads them.
    pub inputs: Vec<Input>,
    /// The rooms for which a custom formula was computed and summed; none unless it is on a contract.
    pub rooms: usize,
}

/// The error of a fee that has no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// A fact that the formula needs is not known.
    #[error("{} is missing{}", fact.title(), in_room(*room))]
    Missing {
        /// The fact.
        fact: Fact,
        /// The room of a contract, counted from 0.
        room: Option<usize>,
    },
    /// The custom formula has no value.
    #[error("{error}{}", in_room(*room))]
    Formula {
        /// The error, with its place in the formula.
        error: EvaluationError,
        /// The room of a contract, counted from 0.
        room: Option<usize>,
    },
    /// The formula does not fit this kind of payer object.
    #[error("formula {} does not apply to payer object type {}", formula.code(), payer.code())]
    NotForPayer {
        /// The formula.
        formula: Formula,
        /// The kind of payer object.
        payer: PayerObjectType,
    },
    /// Nothing is charged by this formula.
    #[error("formula {} is not supported", .0.code())]
    Unsupported(Formula),
    /// The unit amount is negative.
    #[error("the unit amount is negative ({0})")]
    Negative(Decimal),
    /// The decimals cannot hold the amount.
    #[error("the amount is out of range")]
    OutOfRange,
}

fn in_room(room: Option<usize>) -> String {
    room.map(|room| format!(" in room {room}")).unwrap_or_default()
}

impl AmountError {
    /// The error in Chinese.
    #[must_use]
    pub fn text(&self) -> String {
        let of_room = |room: &Option<usize>| room.map(|room| format!("第{}间房屋：", room + 1)).unwrap_or_default();
        match self {
            Self::Missing { fact: Fact::Reading, .. } => "抄表数据异常".to_owned(),
            Self::Missing { fact, room } => format!("{}缺少{}", of_room(room), fact.title()),
            Self::Formula { error, room } => format!("{}{}", of_room(room), error.text()),
            Self::NotForPayer { formula, payer } => format!("{}不能按“{}”计费", payer.title(), formula.title()),
            Self::Unsupported(_) => "暂不支持该类公式".to_owned(),
            Self::Negative(amount) => format!("计费金额为负数({amount})"),
            Self::OutOfRange => "计费金额过大".to_owned(),
        }
    }
}

/// Judges whether a formula applies to a kind of payer object.
///
/// # Errors
/// Returns `Unsupported` for a formula by which nothing is charged, and `NotForPayer` otherwise.
pub fn applies(formula: Formula, payer: PayerObjectType) -> Result<(), AmountError> {
    let fits = match formula {
        Formula::TemporaryCar | Formula::Unspecified => return Err(AmountError::Unsupported(formula)),
        Formula::IndoorArea => payer == PayerObjectType::Room,
        Formula::ManualDynamic | Formula::Rent | Formula::EscalatingRent => payer != PayerObjectType::Car,
        _ => true,
    };
    if fits && payer != PayerObjectType::Listing { Ok(()) } else { Err(AmountError::NotForPayer { formula, payer }) }
}

/// Computes the unit amount of a fee.
///
/// # Errors
/// Returns an [`AmountError`] if a fact is missing, the formula does not fit the payer object or has
/// no value, or the amount is negative or out of range.
pub fn unit(item: &ItemTerms, payer: &Payer, fee: &Fee) -> Result<Unit, AmountError> {
    applies(item.formula, payer.kind())?;
    let mut reader = Reader { item, inputs: Vec::with_capacity(4) };
    let amount = match item.formula {
        Formula::BuiltUpArea => {
            let area = match payer {
                Payer::Car(car) => reader.read(built_up_area(), car.space_area, None)?,
                payer => reader.sum(payer, built_up_area(), |room| room.built_up_area)?,
            };
            reader.priced(area)?
        }
        Formula::IndoorArea => {
            let Payer::Room(room) = payer else { return Err(not_for(item, payer)) };
            let area = reader.read(Fact::IndoorArea, room.indoor_area, None)?;
            reader.priced(area)?
        }
        Formula::Fixed => reader.additional_amount(),
        Formula::Dynamic | Formula::Usage | Formula::ManualDynamic => {
            reader.read(Fact::StoredAmount, fee.amount, None)?
        }
        Formula::Reading => {
            let used = reader.used(fee)?;
            reader.priced(used)?
        }
        Formula::MeterPrice => {
            let used = reader.used(fee)?;
            let price = reader.read(Fact::ReadingPrice, fee.reading.and_then(|reading| reading.price), None)?;
            let additional = reader.additional_amount();
            used.checked_mul(price).and_then(|a| a.checked_add(additional)).ok_or(AmountError::OutOfRange)?
        }
        Formula::Custom => reader.custom(payer)?,
        Formula::Rent | Formula::EscalatingRent => reader.sum(payer, Fact::Rent, |room| room.rent)?,
        Formula::TemporaryCar | Formula::Unspecified => return Err(AmountError::Unsupported(item.formula)),
    };
    if amount.is_sign_negative() && !amount.is_zero() {
        return Err(AmountError::Negative(amount.normalize()));
    }
    let rooms = match payer {
        Payer::Contract(contract) if item.formula == Formula::Custom => contract.rooms.len(),
        _ => 0,
    };
    Ok(Unit { amount, inputs: reader.inputs, rooms })
}

fn built_up_area() -> Fact {
    Fact::Variable(Variable::BuiltUpArea)
}

fn not_for(item: &ItemTerms, payer: &Payer) -> AmountError {
    AmountError::NotForPayer { formula: item.formula, payer: payer.kind() }
}

/// Reads facts and keeps what was read.
struct Reader<'a> {
    item: &'a ItemTerms,
    inputs: Vec<Input>,
}

impl Reader<'_> {
    fn read(&mut self, fact: Fact, value: Option<Decimal>, room: Option<usize>) -> Result<Decimal, AmountError> {
        match value {
            Some(value) => {
                self.inputs.push(Input { room, fact, value });
                Ok(value)
            }
            None => Err(AmountError::Missing { fact, room }),
        }
    }

    /// The fact of a room, or its sum over the rooms of a contract.
    fn sum(
        &mut self,
        payer: &Payer,
        fact: Fact,
        value: impl Fn(&Room) -> Option<Decimal>,
    ) -> Result<Decimal, AmountError> {
        match payer {
            Payer::Room(room) => self.read(fact, value(room), None),
            Payer::Contract(contract) if contract.rooms.is_empty() => {
                Err(AmountError::Missing { fact: Fact::Rooms, room: None })
            }
            Payer::Contract(contract) => contract.rooms.iter().enumerate().try_fold(Decimal::ZERO, |sum, (n, room)| {
                let value = self.read(fact.clone(), value(room), Some(n))?;
                sum.checked_add(value).ok_or(AmountError::OutOfRange)
            }),
            Payer::Car(_) => Err(not_for(self.item, payer)),
        }
    }

    /// A quantity times the unit price, plus the additional amount.
    fn priced(&mut self, quantity: Decimal) -> Result<Decimal, AmountError> {
        let price = self.item.price;
        self.inputs.push(Input { room: None, fact: Fact::Variable(Variable::Price), value: price });
        let additional = self.additional_amount();
        quantity.checked_mul(price).and_then(|a| a.checked_add(additional)).ok_or(AmountError::OutOfRange)
    }

    fn additional_amount(&mut self) -> Decimal {
        let value = self.item.additional_amount;
        self.inputs.push(Input { room: None, fact: Fact::Variable(Variable::AdditionalAmount), value });
        value
    }

    /// The difference of the readings.
    fn used(&mut self, fee: &Fee) -> Result<Decimal, AmountError> {
        let Some(Reading { previous, current, .. }) = fee.reading else {
            return Err(AmountError::Missing { fact: Fact::Reading, room: None });
        };
        self.inputs.push(Input { room: None, fact: Fact::CurrentDegrees, value: current });
        self.inputs.push(Input { room: None, fact: Fact::PreviousDegrees, value: previous });
        current.checked_sub(previous).ok_or(AmountError::OutOfRange)
    }

    /// The custom formula, on a contract for each room and summed.
    fn custom(&mut self, payer: &Payer) -> Result<Decimal, AmountError> {
        let missing = |fact| AmountError::Missing { fact, room: None };
        let expression = self.item.expression.as_ref().ok_or_else(|| missing(Fact::Expression))?;
        match payer {
            Payer::Room(room) => self.evaluate(expression, None, |variable| room.value(variable)),
            Payer::Car(car) => self.evaluate(expression, None, |variable| match variable {
                Variable::CommunityArea => car.community_area,
                _ => None,
            }),
            Payer::Contract(contract) if contract.rooms.is_empty() => Err(missing(Fact::Rooms)),
            Payer::Contract(contract) => contract.rooms.iter().enumerate().try_fold(Decimal::ZERO, |sum, (n, room)| {
                let amount = self.evaluate(expression, Some(n), |variable| room.value(variable))?;
                sum.checked_add(amount).ok_or(AmountError::OutOfRange)
            }),
        }
    }

    fn evaluate(
        &mut self,
        expression: &Expression,
        room: Option<usize>,
        of_payer: impl Fn(&Variable) -> Option<Decimal>,
    ) -> Result<Decimal, AmountError> {
        let item = self.item;
        let first = self.inputs.len();
        let inputs = RefCell::new(std::mem::take(&mut self.inputs));
        let result = expression.evaluate(|variable| {
            let value = match variable {
                Variable::Price => item.price,
                Variable::AdditionalAmount => item.additional_amount,
                variable => of_payer(variable)?,
            };
            let mut inputs = inputs.borrow_mut();
            let known = |input: &Input| matches!(&input.fact, Fact::Variable(read) if read == variable);
            if !inputs.iter().skip(first).any(known) {
                inputs.push(Input { room, fact: Fact::Variable(variable.clone()), value });
            }
            Some(value)
        });
        self.inputs = inputs.into_inner();
        result.map_err(|error| AmountError::Formula { error, room })
    }
}
