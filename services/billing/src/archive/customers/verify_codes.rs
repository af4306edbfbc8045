//! Codes that prove a phone: six digits, good for five minutes, five tries and one use. Pure.
//!
//! A try is taken in a transaction of its own, before the code is compared: a refused call is rolled back,
//! and must not give its try back.

use std::collections::{BTreeSet, HashMap};

use chrono::TimeDelta;
use communal_kit::objections::Objections;
use communal_proto::billing::v1::fields::new_customer::VERIFICATION_CODE;
use communal_proto::billing::v1::fields::sup_create_customer_account_request::CUSTOMERS;
use communal_proto::billing::v1::{NewCustomer, Reason};
use communal_proto::{Fault, Reason as _};

use crate::vocabulary::personal::PersonalKeys;

/// The time for which a code is good.
pub const GOOD_FOR: TimeDelta = TimeDelta::minutes(5);
/// Tries of a code.
pub const TRIES: i32 = 5;
/// Number of different codes.
pub const CODES: u32 = 1_000_000;

/// Returns the digits of a code.
#[must_use]
pub fn digits(number: u32) -> String {
    format!("{:06}", number % CODES)
}

/// The codes that customers bring, hashed.
#[derive(Debug)]
pub struct Brought {
    /// The hash of the phone and that of the code, for each row.
    rows: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Brought {
    /// Hashes phones and codes of a request.
    ///
    /// # Errors
    /// Never for keys that were parsed.
    pub fn read(keys: &PersonalKeys, company_id: &str, customers: &[NewCustomer]) -> anyhow::Result<Self> {
        let row = |c: &NewCustomer| {
            let phone = keys.phone(company_id, &c.mobile_phone)?;
            Ok((phone, keys.code(company_id, &c.mobile_phone, &c.verification_code)?))
        };
        Ok(Self { rows: customers.iter().map(row).collect::<anyhow::Result<_>>()? })
    }

    /// The phones, each once.
    #[must_use]
    pub fn phones(&self) -> Vec<Vec<u8>> {
        self.rows.iter().map(|(phone, _)| phone.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The codes, each once.
    #[must_use]
    pub fn codes(&self) -> Vec<Vec<u8>> {
        self.rows.iter().map(|(_, code)| code.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Objects to rows whose code is not the one that was issued for their phone. `issued` are the codes that
    /// still had a try, or those that nobody has used up.
    #[must_use]
    pub fn judge(&self, issued: &HashMap<Vec<u8>, Vec<u8>>) -> Objections {
        let mut objections = Objections::default();
        for (row, (phone, code)) in self.rows.iter().enumerate() {
            if issued.get(phone) != Some(code) {
                let (field, text) = (CUSTOMERS.at(row).then(VERIFICATION_CODE), Reason::VerifyCodeRefused.text());
                objections.push(Reason::VerifyCodeRefused, Fault::rule(field, "does not prove the phone", text));
            }
        }
        objections
    }
}
