//! Paths of fields in a request. A path is kept as steps and printed at the edge, so that code
//! asks it for its row instead of parsing a text.

use std::borrow::Cow;
use std::fmt;

/// The names and number of one field of the contract; the constants are generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldName {
    /// The protobuf name, like `price`.
    pub proto: &'static str,
    /// The documented name, as REST writes it, like `CAT_ITEM_PRICE`.
    pub documented: &'static str,
    /// The field number, as it is on the wire.
    pub number: u32,
}

impl FieldName {
    /// One row of this repeated field.
    #[must_use]
    pub fn at(self, row: usize) -> FieldPath {
        FieldPath::from(self).at(row)
    }

    /// A field inside this message field.
    #[must_use]
    pub fn then(self, inner: impl Into<FieldPath>) -> FieldPath {
        FieldPath::from(self).then(inner)
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.documented)
    }
}

/// The path of a field from the request's top, printed by documented names.
///
/// ```
/// use communal_proto::FieldPath;
/// use communal_proto::billing::v1::fields::{sale_package_price_row, update_sale_package_price_request};
///
/// let path = update_sale_package_price_request::ROWS.at(3).then(sale_package_price_row::PRICE);
/// assert_eq!(path.to_string(), "COM_SALES_PRICE[3].CAT_ITEM_PRICE");
/// assert_eq!(path.proto_path(), "rows[3].price");
/// assert_eq!(path.row(), Some(3));
/// assert_eq!(path, FieldPath::from("COM_SALES_PRICE[3].CAT_ITEM_PRICE"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Step {
    name: Cow<'static, str>,
    proto: ProtoName,
    row: Option<usize>,
}

/// The protobuf name of a step. It follows from the documented one and is no part of the
/// path's identity.
#[derive(Clone, Copy, Debug, Default)]
struct ProtoName(Option<&'static str>);

impl PartialEq for ProtoName {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ProtoName {}

impl std::hash::Hash for ProtoName {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl FieldPath {
    /// One row of the repeated field that the path ends with.
    #[must_use]
    pub fn at(mut self, row: usize) -> Self {
        if let Some(last) = self.steps.last_mut() {
            last.row = Some(row);
        }
        self
    }

    /// A field inside the message that the path ends with.
    #[must_use]
    pub fn then(mut self, inner: impl Into<Self>) -> Self {
        self.steps.extend(inner.into().steps);
        self
    }

    /// The first row number in the path.
    #[must_use]
    pub fn row(&self) -> Option<usize> {
        self.steps.iter().find_map(|step| step.row)
    }

    /// Returns true if the path ends with a whole row, and not with a field of it.
    #[must_use]
    pub fn is_whole_row(&self) -> bool {
        self.steps.last().is_some_and(|step| step.row.is_some())
    }

    /// The documented name of the field at the request's top.
    #[must_use]
    pub fn first_name(&self) -> &str {
        self.steps.first().map_or("", |step| &step.name)
    }

    /// The path by protobuf names. A name that is not one of the contract stands as it is.
    #[must_use]
    pub fn proto_path(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.print(&mut text, |step| step.proto.0.unwrap_or(&step.name));
        text
    }

    fn print<'a>(&'a self, out: &mut impl fmt::Write, name: impl Fn(&'a Step) -> &'a str) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            if index > 0 {
                out.write_char('.')?;
            }
            out.write_str(name(step))?;
            if let Some(row) = step.row {
                write!(out, "[{row}]")?;
            }
        }
        Ok(())
    }

    /// Enters a message while a request is walked; [`Self::leave`] undoes it.
    pub(crate) fn enter(&mut self, field: FieldName, row: Option<usize>) {
        self.steps.push(Step { row, ..Step::from(field) });
    }

    pub(crate) fn leave(&mut self) {
        self.steps.pop();
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f, |step| &step.name)
    }
}

impl From<FieldName> for Step {
    fn from(field: FieldName) -> Self {
        Self { name: Cow::Borrowed(field.documented), proto: ProtoName(Some(field.proto)), row: None }
    }
}

impl From<FieldName> for FieldPath {
    fn from(field: FieldName) -> Self {
        Self { steps: vec![field.into()] }
    }
}

impl From<&str> for FieldPath {
    fn from(text: &str) -> Self {
        let steps = text.split('.').map(|part| {
            let (name, row) = split_row(part).map_or((part, None), |(name, row)| (name, Some(row)));
            Step { name: Cow::Owned(name.to_owned()), proto: ProtoName(None), row }
        });
        Self { steps: steps.collect() }
    }
}

impl From<String> for FieldPath {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl PartialEq<str> for FieldPath {
    fn eq(&self, other: &str) -> bool {
        let other = Self::from(other);
        *self == other
    }
}

impl PartialEq<&str> for FieldPath {
    fn eq(&self, other: &&str) -> bool {
        *self == **other
    }
}

/// Splits `name[3]`. A number that would be printed otherwise is part of the name, so that
/// a text comes out as it went in.
fn split_row(part: &str) -> Option<(&str, usize)> {
    let (name, row) = part.strip_suffix(']')?.rsplit_once('[')?;
    let number: usize = row.parse().ok()?;
    (number.to_string() == row).then_some((name, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_out_as_it_went_in() {
        for text in ["", "a", "a.b", "rows[3].x", "rows[03].x", "a[x]", "[1]", "a..b", "x-max-staleness-ms", "a[1][2]"]
        {
            assert_eq!(FieldPath::from(text).to_string(), text);
        }
    }

    #[test]
    fn the_first_row_is_the_row_of_the_request() {
        assert_eq!(FieldPath::from("rows[3].parts[7].x").row(), Some(3));
        assert_eq!(FieldPath::from("rows.x").row(), None);
        assert!(FieldPath::from("lines[3]").is_whole_row());
        assert!(!FieldPath::from("lines[3].x").is_whole_row());
    }
}
