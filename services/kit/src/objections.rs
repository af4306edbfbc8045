//! Objections: the faults that rules find in a request, with their reasons, gathered before it is
//! refused.
//!
//! Rules stay pure: they push a reason with the field concerned and never decide how a call ends.

use communal_proto::{Fault, FieldPath, Reason};

use crate::refusal::{Grounds, Refusal, reason_of};

/// An objection: a reason, and a fault of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    grounds: Grounds,
    fault: Fault,
}

impl Objection {
    /// Creates an objection.
    #[must_use]
    pub fn new(reason: impl Reason, fault: Fault) -> Self {
        Self { grounds: Grounds::of(reason), fault }
    }

    /// Returns the name of the reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.grounds.name
    }

    /// Returns the fault.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    /// Returns the same objection to a field of the message at a place.
    #[must_use]
    pub fn inside(self, place: FieldPath) -> Self {
        let Self { grounds, fault } = self;
        Self { grounds, fault: Fault { field: place.then(fault.field), ..fault } }
    }

    /// Returns true if the fault gives the reason.
    fn is_of_field(&self) -> bool {
        self.grounds == Grounds::of(reason_of(self.fault.kind))
    }
}

impl From<Fault> for Objection {
    /// Objects to a fault of a field that has no reason but its kind.
    fn from(fault: Fault) -> Self {
        Self::new(reason_of(fault.kind), fault)
    }
}

/// The objections to one request. The first one gives the reason and the message of the refusal; the
/// faults of all are listed, each with its own reason.
///
/// ```
/// use communal_kit::objections::Objections;
/// use communal_proto::Fault;
/// use communal_proto::billing::v1::Reason;
///
/// let mut objections = Objections::default();
/// objections.push(Reason::PackageState, Fault::rule("COM_SALES_PACK[0].CHARGE_PACK_DID", "is cancelled", "套餐已作废"));
/// let refusal = objections.into_result().unwrap_err();
/// assert_eq!(refusal.reason(), "PACKAGE_STATE");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objections(Vec<Objection>);

impl Objections {
    /// Adds an objection.
    pub fn push(&mut self, reason: impl Reason, fault: Fault) {
        self.0.push(Objection::new(reason, fault));
    }

    /// Returns whether there is no objection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the objections in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Objection> {
        self.0.iter()
    }

    /// Returns how many objections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Keeps the first objections, so many at most.
    pub fn truncate(&mut self, most: usize) {
        self.0.truncate(most);
    }

    /// Orders the objections by the row of the request that they concern; those of one row stay in
    /// the order in which they were pushed.
    pub fn sort_by_row(&mut self) {
        self.0.sort_by_key(|objection| objection.fault.field.row());
    }

    /// Returns the outcome of the rules.
    ///
    /// # Errors
    /// Returns the refusal if there is an objection.
    pub fn into_result(self) -> Result<(), Refusal> {
        let Some(first) = self.0.first() else { return Ok(()) };
        let text = if first.is_of_field() { &first.fault.text } else { first.grounds.text };
        let refusal = Refusal::on(first.grounds, text);
        Err(self
            .0
            .into_iter()
            .fold(refusal, |refusal, Objection { grounds, fault }| refusal.fault_of(grounds.name, fault)))
    }
}

impl Extend<Objection> for Objections {
    fn extend<I: IntoIterator<Item = Objection>>(&mut self, objections: I) {
        self.0.extend(objections);
    }
}

impl IntoIterator for Objections {
    type Item = Objection;
    type IntoIter = std::vec::IntoIter<Objection>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use communal_proto::billing::v1::Reason;
    use tonic::Status;
    use tonic_types::StatusExt as _;

    use super::*;

    #[test]
    fn the_first_row_gives_the_reason_and_all_rows_are_listed() {
        let mut objections = Objections::default();
        objections.push(Reason::PriceNotFound, Fault::rule("rows[7].price", "is of no row", "价格不存在"));
        objections.push(Reason::PackageState, Fault::rule("rows[2].package_id", "is cancelled", "套餐已作废"));
        objections.sort_by_row();
        let refusal = objections.into_result().unwrap_err();
        assert_eq!(
            (refusal.reason(), refusal.text()),
            ("PACKAGE_STATE", communal_proto::Reason::text(Reason::PackageState))
        );
        let details = Status::from(refusal).get_error_details();
        let violations = details.bad_request().map(|request| request.field_violations.clone()).unwrap_or_default();
        let reasons: Vec<_> = violations.iter().map(|v| (v.field.as_str(), v.reason.as_str())).collect();
        assert_eq!(reasons, [("rows[2].package_id", "PACKAGE_STATE"), ("rows[7].price", "PRICE_NOT_FOUND")]);
        let words = details.localized_message().map(|m| m.message.clone());
        assert_eq!(words.as_deref(), Some("rows[2].package_id 套餐已作废；rows[7].price 价格不存在"));
        assert_eq!(Objections::default().into_result().map_err(|r| r.reason()), Ok(()));
    }
}
