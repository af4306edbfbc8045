//! The type check of a formula: the dimensions of its parts.
//!
//! A dimension is money to some power times area to some power. Most things have one:
//!
//! | Part | Dimension |
//! |---|---|
//! | C, F, U, R, 面积 | area |
//! | X, L | a plain number |
//! | 附加费 | money |
//! | 单价 | money for an area, or money for a unit: the document uses it both ways |
//! | a number, RL… | the one that its place needs, because documents write `R*2.5+X*10` |
//!
//! So the type of an expression is the set of dimensions it can be read as. + and − need a
//! dimension that both sides can have; × and ÷ combine each with each; and the whole must be
//! readable as money. That refuses an area added to a price (`R+单价`), an area or a
//! coefficient charged as money (`R`, `X*L`), a price squared, and money added to an area.

use std::collections::BTreeSet;

use rust_decimal::Decimal;

use super::{FormulaError, FormulaFault, Node, Operation, Tree, Variable};

/// Powers of money and of area.
type Dimension = (i16, i16);

const MONEY: Dimension = (1, 0);

/// The dimensions that an expression can be read as.
enum Readings {
    /// Any dimension.
    All,
    /// One of these; never empty.
    Some(BTreeSet<Dimension>),
}

/// Checks that `tree` can be read as an amount of money.
pub(super) fn check(tree: &Tree) -> Result<(), FormulaError> {
    match readings(tree)? {
        Readings::Some(set) if !set.contains(&MONEY) => {
            Err(FormulaError { position: tree.start(), fault: FormulaFault::NotMoney })
        }
        _ => Ok(()),
    }
}

fn readings(tree: &Tree) -> Result<Readings, FormulaError> {
    match &tree.node {
        Node::Number(_) => Ok(Readings::All),
        Node::Variable(variable) => Ok(of_variable(variable)),
        Node::Negative(inner) => readings(inner),
        Node::Operation(operation, left, right) => {
            let sides = (readings(left)?, readings(right)?);
            let fault = |fault| FormulaError { position: tree.position, fault };
            match operation {
                Operation::Add | Operation::Subtract => common(sides).ok_or_else(|| fault(FormulaFault::Unlike)),
                Operation::Multiply => Ok(combined(sides, 1)),
                Operation::Divide if right.node == Node::Number(Decimal::ZERO) => Err(fault(FormulaFault::ZeroDivisor)),
                Operation::Divide => Ok(combined(sides, -1)),
            }
        }
    }
}

fn of_variable(variable: &Variable) -> Readings {
    let set: &[Dimension] = match variable {
        Variable::CommunityArea | Variable::BuildingArea | Variable::UnitArea | Variable::BuiltUpArea => &[(0, 1)],
        Variable::Coefficient | Variable::Storey => &[(0, 0)],
        Variable::AdditionalAmount => &[MONEY],
        Variable::Price => &[(1, -1), MONEY],
        Variable::RoomAttribute(_) => return Readings::All,
    };
    Readings::Some(set.iter().copied().collect())
}

/// The dimensions that both sides of a sum can have.
fn common(sides: (Readings, Readings)) -> Option<Readings> {
    match sides {
        (Readings::All, other) | (other, Readings::All) => Some(other),
        (Readings::Some(left), Readings::Some(right)) => {
            let both: BTreeSet<_> = left.intersection(&right).copied().collect();
            (!both.is_empty()).then_some(Readings::Some(both))
        }
    }
}

/// The dimensions of a product (`sign` 1) or quotient (`sign` -1). Powers stay small: a formula of
/// the allowed length has a few hundred factors.
fn combined(sides: (Readings, Readings), sign: i16) -> Readings {
    match sides {
        (Readings::Some(left), Readings::Some(right)) => Readings::Some(
            left.iter()
                .flat_map(|(money, area)| {
                    right
                        .iter()
                        .map(move |(more_money, more_area)| (money + sign * more_money, area + sign * more_area))
                })
                .collect(),
        ),
        _ => Readings::All,
    }
}
