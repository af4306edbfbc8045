//! Quotes (试算): what a fee owes or a payment costs, with the steps that lead to it.
//!
//! Either of a stored fee, or of facts that are all in the request: so an item can be tried before it
//! exists. Nothing is written.

pub mod explained;
pub mod rpc;
pub mod rules;

use chrono::NaiveDateTime;

use crate::amounts::{Fee, ItemTerms, Payer, PaymentScope};

/// A request for a quote, read once.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The fee.
    pub of: Of,
    /// The scope of the payment.
    pub scope: PaymentScope,
    /// The time of the quote; `None` for now.
    pub at: Option<NaiveDateTime>,
}

/// The fee of a quote.
#[derive(Clone, Debug)]
pub enum Of {
    /// A stored fee, by its identifier.
    Stored(String),
    /// A fee whose facts are in the request.
    Given(Box<Given>),
}

/// The facts of a fee in a request.
#[derive(Clone, Debug)]
pub struct Given {
    /// The terms of the fee item.
    pub item: ItemTerms,
    /// The payer object.
    pub payer: Payer,
    /// The fee.
    pub fee: Fee,
}
