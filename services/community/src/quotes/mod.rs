//! Quotes (试算): what a fee owes or a payment costs, with the steps that lead to it.
//!
//! All facts of the item, the payer object and the fee are in the request, so an item can be tried before
//! it exists. Nothing is read and nothing is written.

pub mod explained;
pub mod rpc;
pub mod rules;

use chrono::NaiveDateTime;

use crate::amounts::{Fee, ItemTerms, Payer, PaymentScope};

/// A request for a quote, read once.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The terms of the fee item.
    pub item: ItemTerms,
    /// The payer object.
    pub payer: Payer,
    /// The fee.
    pub fee: Fee,
    /// The scope of the payment.
    pub scope: PaymentScope,
    /// The time of the quote; `None` for now.
    pub at: Option<NaiveDateTime>,
}
