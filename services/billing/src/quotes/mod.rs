//! Quotes (试算): the bill of an account from facts that are all in the request, so that a package can be tried before it is
//! sold.
//!
//! The computation is [`crate::rating`], as for a bill. Nothing is read and nothing is written: the methods have no database.
//! [`rules`] reads a request, [`explained`] writes the answer.

pub mod explained;
pub mod rpc;
pub mod rules;

use communal_proto::billing::v1::NormalRetroType;

use crate::rating::{Accumulators, Bill, BillFacts, Parameters, Rates, RatingError, RegisterFacts, rate};
use crate::vocabulary::dates::AccountMonth;
use crate::vocabulary::tariff::Season;

/// Most packages under which the accounts of a stream are quoted.
pub const MOST_PACKAGES: usize = 10;

/// The facts of an account in a request.
#[derive(Clone, Debug)]
pub struct QuotedFacts {
    month: AccountMonth,
    run_kind: NormalRetroType,
    season: Season,
    accumulators: Accumulators,
    metered: bool,
    registers: Vec<RegisterFacts>,
    parameters: Parameters,
}

impl QuotedFacts {
    /// The bill of the account.
    ///
    /// # Errors
    /// Returns the error of [`rate`].
    pub fn bill(&self, rates: &Rates) -> Result<Bill, RatingError> {
        let facts = BillFacts {
            account_month: self.month,
            run_kind: self.run_kind,
            season: self.season,
            accumulators: self.accumulators,
            metered: self.metered,
            registers: &self.registers,
            parameters: self.parameters.clone(),
        };
        rate(&facts, rates)
    }
}
