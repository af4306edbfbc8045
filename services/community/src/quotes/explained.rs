//! A quote as it is answered: amounts at the decimals of the item, and the steps behind them. Pure.

use communal_kit::money::{at_scale, round};
use communal_proto::community::v1::{QuoteExplanation, QuoteFeeResponse, QuoteInput, QuoteLine, Rounding};

use crate::amounts::{AmountError, Input, Line, Pricing, Quote, explanation};
use crate::vocabulary::times;

/// Places of a unit amount that is shown.
const UNIT_PLACES: u32 = 4;

/// Returns the answer to a request.
///
/// # Errors
/// Returns `OutOfRange` if the decimals cannot hold the unit amount in force.
pub fn response(pricing: &Pricing<'_>, quote: &Quote) -> Result<QuoteFeeResponse, AmountError> {
    let (item, unit) = (pricing.item(), pricing.unit());
    let places = item.rounding.places;
    let explanation = QuoteExplanation {
        formula: explanation::formula(item.formula, item.expression.as_ref()),
        filled_formula: explanation::filled(item, unit),
        inputs: unit.inputs.iter().map(input).collect(),
        unit_amount: unit.amount.normalize().to_string(),
        lines: quote.lines.iter().map(|quoted| line(quoted, places)).collect(),
        scale: match item.rounding.mode {
            Rounding::Unspecified => Rounding::HalfUp,
            mode => mode,
        }
        .into(),
        decimal_place: i32::try_from(places).unwrap_or(i32::MAX),
    };
    Ok(QuoteFeeResponse {
        fee_price: at_scale(round(pricing.unit_in_force()?, UNIT_PLACES), UNIT_PLACES),
        amount: at_scale(quote.gross, places),
        fee_total_price: at_scale(quote.due, places),
        credit_amount: at_scale(quote.credit_after, places),
        cycles: quote.months.to_string(),
        end_time: times::print(quote.paid_through),
        deadline_time: quote.deadline.map(times::print).unwrap_or_default(),
        explanation: Some(explanation),
    })
}

fn input(input: &Input) -> QuoteInput {
    QuoteInput {
        room: input.room.map_or(0, |room| i32::try_from(room).map_or(i32::MAX, |room| room.saturating_add(1))),
        title: input.fact.title(),
        value: input.value.normalize().to_string(),
    }
}

fn line(line: &Line, places: u32) -> QuoteLine {
    let time = |time| times::print(time);
    QuoteLine {
        start_time: line.span.map(|span| time(span.from.and_time(chrono::NaiveTime::MIN))).unwrap_or_default(),
        end_time: line.span.map(|span| time(span.last_second())).unwrap_or_default(),
        days: line.span.map_or(0, |span| i32::try_from(span.days()).unwrap_or(i32::MAX)),
        months: line.length().to_string(),
        months_before: line.months.0.to_string(),
        months_through: line.months.1.to_string(),
        exact_before: line.exact.0.normalize().to_string(),
        exact_through: line.exact.1.normalize().to_string(),
        amount: at_scale(line.amount, places),
    }
}
