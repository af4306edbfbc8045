//! The formula behind an amount as text: as it is defined, and with the values put in.

use communal_proto::community::v1::Formula;
use rust_decimal::Decimal;

use super::formula::Variable;
use super::{Fact, Input, ItemTerms, Unit};

/// The formula of an item: variables and the terms of the documents.
///
/// ```
/// # use communal_community::amounts::explanation::formula;
/// # use communal_proto::community::v1::Formula;
/// assert_eq!(formula(Formula::Reading, None), "(本期读数-上期读数)*单价+附加费");
/// ```
#[must_use]
pub fn formula(formula: Formula, expression: Option<&super::formula::Expression>) -> String {
    match formula {
        Formula::BuiltUpArea => "R*单价+附加费",
        Formula::IndoorArea => "室内面积*单价+附加费",
        Formula::Fixed => "附加费",
        Formula::Dynamic | Formula::Usage | Formula::ManualDynamic => "费用金额",
        Formula::Reading => "(本期读数-上期读数)*单价+附加费",
        Formula::MeterPrice => "(本期读数-上期读数)*抄表单价+附加费",
        Formula::Rent | Formula::EscalatingRent => "租金",
        Formula::Custom => return expression.map(ToString::to_string).unwrap_or_default(),
        Formula::TemporaryCar | Formula::Unspecified => "",
    }
    .to_owned()
}

/// The formula with the values that were put in.
#[must_use]
pub fn filled(item: &ItemTerms, unit: &Unit) -> String {
    let one = |fact: Fact| all(&unit.inputs, &fact).next().map(printed).unwrap_or_default();
    let price = || one(Fact::Variable(Variable::Price));
    let additional = || one(Fact::Variable(Variable::AdditionalAmount));
    let used = || format!("({}-{})", one(Fact::CurrentDegrees), one(Fact::PreviousDegrees));
    match item.formula {
        Formula::BuiltUpArea => {
            format!("{}*{}+{}", total(&unit.inputs, &Fact::Variable(Variable::BuiltUpArea)), price(), additional())
        }
        Formula::IndoorArea => format!("{}*{}+{}", one(Fact::IndoorArea), price(), additional()),
        Formula::Fixed => additional(),
        Formula::Dynamic | Formula::Usage | Formula::ManualDynamic => one(Fact::StoredAmount),
        Formula::Reading => format!("{}*{}+{}", used(), price(), additional()),
        Formula::MeterPrice => format!("{}*{}+{}", used(), one(Fact::ReadingPrice), additional()),
        Formula::Rent | Formula::EscalatingRent => total(&unit.inputs, &Fact::Rent),
        Formula::Custom => custom(item, unit),
        Formula::TemporaryCar | Formula::Unspecified => String::new(),
    }
}

/// The custom formula, on a contract once for each room.
fn custom(item: &ItemTerms, unit: &Unit) -> String {
    let Some(expression) = &item.expression else { return String::new() };
    let of_room = |room: Option<usize>| {
        expression.filled(|variable| {
            let of = |input: &&Input| input.room == room && input.fact == Fact::Variable(variable.clone());
            unit.inputs.iter().find(of).map(|input| input.value)
        })
    };
    match unit.rooms {
        0 => of_room(None),
        1 => of_room(Some(0)),
        rooms => (0..rooms).map(|room| format!("({})", of_room(Some(room)))).collect::<Vec<_>>().join("+"),
    }
}

/// The values of a fact; of several rooms, as a sum in parentheses.
fn total(inputs: &[Input], fact: &Fact) -> String {
    let values: Vec<_> = all(inputs, fact).map(printed).collect();
    match values.as_slice() {
        [one] => one.clone(),
        several => format!("({})", several.join("+")),
    }
}

fn all<'a>(inputs: &'a [Input], fact: &'a Fact) -> impl Iterator<Item = Decimal> + 'a {
    inputs.iter().filter(move |input| input.fact == *fact).map(|input| input.value)
}

/// A value without needless zeros.
fn printed(value: Decimal) -> String {
    value.normalize().to_string()
}
