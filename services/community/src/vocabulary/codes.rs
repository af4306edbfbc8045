//! Codes of the contract that mean a plain value.

use communal_proto::community::v1::{Choice, DecimalPlace};

/// The answer to a question, as the documents write it.
#[must_use]
pub fn choice(yes: bool) -> Choice {
    if yes { Choice::Yes } else { Choice::No }
}

/// The digits after the point; two where none are given.
#[must_use]
pub fn digits(place: DecimalPlace) -> i16 {
    match place {
        DecimalPlace::Zero => 0,
        DecimalPlace::One => 1,
        DecimalPlace::Two | DecimalPlace::Unspecified => 2,
        DecimalPlace::Three => 3,
        DecimalPlace::Four => 4,
    }
}
