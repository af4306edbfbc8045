//! Quotes (试算): the bill of an account from facts that are all in the request, so that a package can be tried before it is
//! sold; or of a stored account, as a calculation would make it now.
//!
//! The computation is [`crate::rating`], as for a bill. Nothing is written: a stored account goes through the steps of a
//! calculation in a transaction that is rolled back. [`rules`] reads a request, [`explained`] writes the answer.

pub mod explained;
pub mod rpc;
pub mod rules;

use communal_proto::billing::v1::NormalRetroType;

use crate::metering::readings::rules::Entered;
use crate::rating::{Accumulators, Bill, BillFacts, Parameters, Rates, RatingError, RegisterFacts, rate};
use crate::vocabulary::dates::AccountMonth;
use crate::vocabulary::tariff::Season;

/// Most packages under which the accounts of a stream are quoted.
pub const MOST_PACKAGES: usize = 10;

/// What a request asks for.
#[derive(Debug)]
pub enum Asked {
    /// The bill of an account under a package, both of them given.
    Given(Box<Rates>, Box<QuotedFacts>),
    /// The bill of a stored account.
    Stored(StoredQuote),
}

/// A stored account, with readings in the place of those that are entered.
#[derive(Debug)]
pub struct StoredQuote {
    /// The account.
    pub settlement_account_id: String,
    /// The readings; the meter is the one that the account has.
    pub readings: Vec<Entered>,
}

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
