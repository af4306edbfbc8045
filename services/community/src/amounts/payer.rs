//! The facts of payer objects that formulas read. A fact that is not known is `None`, never zero.

use std::collections::BTreeMap;

use communal_proto::community::v1::PayerObjectType;
use rust_decimal::Decimal;

use super::formula::Variable;

/// A payer object.
#[derive(Clone, Debug)]
pub enum Payer {
    /// A room.
    Room(Room),
    /// A car with its parking space.
    Car(Car),
    /// A contract over rooms.
    Contract(Contract),
}

impl Payer {
    /// The documented type.
    #[must_use]
    pub fn kind(&self) -> PayerObjectType {
        match self {
            Self::Room(_) => PayerObjectType::Room,
            Self::Car(_) => PayerObjectType::Car,
            Self::Contract(_) => PayerObjectType::Contract,
        }
    }
}

/// A room. Areas are in square metres.
#[derive(Clone, Debug, Default)]
pub struct Room {
    /// Built-up area (R).
    pub built_up_area: Option<Decimal>,
    /// Indoor area.
    pub indoor_area: Option<Decimal>,
    /// Charge coefficient (X).
    pub coefficient: Option<Decimal>,
    /// Storey (L).
    pub storey: Option<Decimal>,
    /// Rent of a month.
    pub rent: Option<Decimal>,
    /// Area of the community (C).
    pub community_area: Option<Decimal>,
    /// Area of the building (F).
    pub building_area: Option<Decimal>,
    /// Area of the unit (U).
    pub unit_area: Option<Decimal>,
    /// Attributes (RL) by their number.
    pub attributes: BTreeMap<String, Decimal>,
}

impl Room {
    /// The value of a variable that belongs to the room.
    #[must_use]
    pub fn value(&self, variable: &Variable) -> Option<Decimal> {
        match variable {
            Variable::CommunityArea => self.community_area,
            Variable::BuildingArea => self.building_area,
            Variable::UnitArea => self.unit_area,
            Variable::BuiltUpArea => self.built_up_area,
            Variable::Coefficient => self.coefficient,
            Variable::Storey => self.storey,
            Variable::RoomAttribute(number) => self.attributes.get(number).copied(),
            Variable::Price | Variable::AdditionalAmount => None,
        }
    }
}

/// A car with its parking space.
#[derive(Clone, Debug, Default)]
pub struct Car {
    /// Area of the parking space.
    pub space_area: Option<Decimal>,
    /// Area of the community (C).
    pub community_area: Option<Decimal>,
}

/// A contract.
#[derive(Clone, Debug, Default)]
pub struct Contract {
    /// Its rooms.
    pub rooms: Vec<Room>,
}
