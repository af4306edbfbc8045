//! Checks encoded requests before they are decoded, since decoding can cost far more than was sent: an
//! empty row takes two bytes on the wire and a thousand in memory.
//!
//! The tables are generated from the contract: the rows that each repeated field of a request may
//! have, and the largest size of a request that follows from its lengths and rows.

use crate::checks::Rule;
use crate::contract::v1::FaultKind;
use crate::path::FieldPath;
use crate::{Fault, checks};

/// The request of a method as it is on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Its message.
    pub message: &'static Message,
    /// Most bytes that it may have: what a request takes whose every field is as long as it may be,
    /// and some room for those that are longer and are told so by name.
    pub largest: usize,
}

/// A message as it is on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// Its fields in documented order.
    pub fields: &'static [Field],
    /// Repeated fields in it and in the single messages inside it: each has a counter.
    pub counters: usize,
}

/// A field as it is on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its rules, of which the number, the names and the rows matter here.
    pub rule: Rule,
    /// Its kind.
    pub kind: Kind,
    /// For a repeated field the size of a row in memory.
    pub row: Option<usize>,
    /// The counter of a repeated field; the first counter inside a single message.
    pub counter: usize,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A number, a flag or a code.
    Varint,
    /// A text.
    Text,
    /// Bytes that are not looked into.
    Bytes,
    /// A message.
    Message(&'static Message),
}

/// Why a request cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It is not in the wire format, or is of another message.
    Malformed,
    /// A field has more rows than allowed, or holds no text.
    Fault(Box<Fault>),
}

impl Broken {
    /// The same, seen from the message around it.
    fn inside(self, field: impl FnOnce() -> FieldPath) -> Self {
        match self {
            Self::Malformed => Self::Malformed,
            Self::Fault(mut fault) => {
                fault.field = field().then(fault.field);
                Self::Fault(fault)
            }
        }
    }
}

/// Checks an encoded message and returns how many bytes its rows take in memory, beside its texts.
///
/// ```
/// use communal_proto::wire::{Broken, check};
///
/// let (_, request) = communal_proto::REQUESTS.iter().find(|(path, _)| path.ends_with("/UpdateSalePackagePrice")).unwrap();
/// let empty_rows = [0x0a, 0].repeat(1_001);
/// let Err(Broken::Fault(fault)) = check(request.message, &empty_rows) else { panic!() };
/// assert_eq!(fault.field, "COM_SALES_PRICE");
/// assert!(check(request.message, &empty_rows[2..]).unwrap() > 100_000);
/// ```
///
/// # Errors
/// Returns what is wrong with it.
pub fn check(message: &'static Message, bytes: &[u8]) -> Result<usize, Broken> {
    let mut walk = Walk { counters: vec![0; message.counters], size: 0 };
    walk.message(message, bytes, 0)?;
    Ok(walk.size)
}

/// One pass over a message. A single message may come in parts that are merged, so its rows are
/// counted by the message around it.
struct Walk {
    counters: Vec<u32>,
    size: usize,
}

impl Walk {
    fn message(&mut self, message: &'static Message, mut bytes: &[u8], base: usize) -> Result<(), Broken> {
        let mut guess = 0;
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0).ok_or(Broken::Malformed)?;
            let wire_type = tag & 7;
            let is_it = |field: &&Field| field.rule.field.number == number;
            // Fields come in their order, and rows one after the other.
            let found = message.fields.get(guess..).and_then(|next| next.iter().position(|field| is_it(&field)));
            let found = found.map(|ahead| guess + ahead).or_else(|| message.fields.iter().position(|f| is_it(&f)));
            let Some((index, field)) = found.and_then(|index| Some((index, message.fields.get(index)?))) else {
                skip(&mut bytes, wire_type)?;
                continue;
            };
            guess = index;
            self.field(field, &mut bytes, wire_type, base)?;
        }
        Ok(())
    }

    fn field(&mut self, field: &'static Field, bytes: &mut &[u8], wire_type: u64, base: usize) -> Result<(), Broken> {
        match (field.kind, wire_type) {
            (Kind::Varint, 0) => varint(bytes).map(drop),
            (Kind::Text, 2) => {
                let text = delimited(bytes)?;
                let row = self.row(field, base)?;
                if std::str::from_utf8(text).is_err() {
                    let fault = checks::wire_fault(&field.rule, FaultKind::Format);
                    return Err(Broken::Fault(Box::new(Fault { field: path(field, row), ..fault })));
                }
                Ok(())
            }
            (Kind::Bytes, 2) => {
                delimited(bytes)?;
                self.row(field, base).map(drop)
            }
            (Kind::Message(inner), 2) => {
                let content = delimited(bytes)?;
                let Some(row) = self.row(field, base)? else {
                    let walked = self.message(inner, content, base + field.counter);
                    return walked.map_err(|broken| broken.inside(|| path(field, None)));
                };
                let of_row = self.counters.len();
                self.counters.resize(of_row + inner.counters, 0);
                let walked = self.message(inner, content, of_row);
                self.counters.truncate(of_row);
                walked.map_err(|broken| broken.inside(|| path(field, Some(row))))
            }
            _ => Err(Broken::Malformed),
        }
    }

    /// Counts a row of a repeated field and returns its index.
    fn row(&mut self, field: &Field, base: usize) -> Result<Option<usize>, Broken> {
        let Some(size) = field.row else { return Ok(None) };
        let Some(counter) = self.counters.get_mut(base + field.counter) else { return Err(Broken::Malformed) };
        if *counter >= field.rule.max_rows {
            return Err(Broken::Fault(Box::new(checks::wire_fault(&field.rule, FaultKind::Rows))));
        }
        *counter += 1;
        self.size += size;
        Ok(Some(*counter as usize - 1))
    }
}

fn path(field: &Field, row: Option<usize>) -> FieldPath {
    row.map_or_else(|| field.rule.field.into(), |row| field.rule.field.at(row))
}

pub(crate) fn varint(bytes: &mut &[u8]) -> Result<u64, Broken> {
    let mut value = 0;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first().ok_or(Broken::Malformed)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if *byte < 0x80 {
            // The tenth byte has room for one bit.
            return if place == 9 && *byte > 1 { Err(Broken::Malformed) } else { Ok(value) };
        }
    }
    Err(Broken::Malformed)
}

pub(crate) fn delimited<'b>(bytes: &mut &'b [u8]) -> Result<&'b [u8], Broken> {
    let length = usize::try_from(varint(bytes)?).map_err(|_| Broken::Malformed)?;
    let (value, rest) = bytes.split_at_checked(length).ok_or(Broken::Malformed)?;
    *bytes = rest;
    Ok(value)
}

/// Skips a field that the message does not have. Groups, which may be nested, are not taken.
pub(crate) fn skip(bytes: &mut &[u8], wire_type: u64) -> Result<(), Broken> {
    let fixed = match wire_type {
        0 => return varint(bytes).map(drop),
        2 => return delimited(bytes).map(drop),
        1 => 8,
        5 => 4,
        _ => return Err(Broken::Malformed),
    };
    *bytes = bytes.get(fixed..).ok_or(Broken::Malformed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::FieldName;

    fn text(number: u32, name: &'static str, max_rows: u32, counter: usize) -> Field {
        let field = FieldName { proto: name, documented: name, number };
        let rule = Rule { field, max_rows, ..Rule::ANY };
        Field { rule, kind: Kind::Text, row: (max_rows > 0).then_some(24), counter }
    }

    fn message(number: u32, name: &'static str, max_rows: u32, inner: &'static Message, counter: usize) -> Field {
        Field { kind: Kind::Message(inner), ..text(number, name, max_rows, counter) }
    }

    fn leak(fields: Vec<Field>, counters: usize) -> &'static Message {
        Box::leak(Box::new(Message { fields: fields.leak(), counters }))
    }

    /// a: text, rows: at most 2 { tags: at most 1 text }, single { tags: at most 1 text }.
    fn sample() -> &'static Message {
        let row = leak(vec![text(1, "tags", 1, 0)], 1);
        leak(vec![text(1, "a", 0, 0), message(2, "rows", 2, row, 0), message(3, "single", 0, row, 1)], 2)
    }

    fn fault(bytes: &[u8]) -> (String, FaultKind) {
        match check(sample(), bytes) {
            Err(Broken::Fault(fault)) => (fault.field.to_string(), fault.kind),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_row_has_counters_of_its_own() {
        let row_with_tag = [0x12, 2, 0x0a, 0];
        assert_eq!(check(sample(), &row_with_tag.repeat(2)), Ok(4 * 24));
        assert_eq!(fault(&row_with_tag.repeat(3)), ("rows".into(), FaultKind::Rows));
        assert_eq!(fault(&[0x12, 0, 0x12, 4, 0x0a, 0, 0x0a, 0]), ("rows[1].tags".into(), FaultKind::Rows));
    }

    #[test]
    fn a_single_message_in_parts_has_one_counter() {
        let part = [0x1a, 2, 0x0a, 0];
        assert_eq!(check(sample(), &part), Ok(24));
        assert_eq!(fault(&part.repeat(2)), ("single.tags".into(), FaultKind::Rows));
    }

    #[test]
    fn what_is_no_text_is_named() {
        assert_eq!(fault(&[0x0a, 1, 0xff]), ("a".into(), FaultKind::Format));
        assert_eq!(fault(&[0x12, 3, 0x0a, 1, 0xff]), ("rows[0].tags[0]".into(), FaultKind::Format));
    }

    #[test]
    fn unknown_fields_are_skipped_and_what_is_no_message_is_not_taken() {
        let unknown: &[&[u8]] =
            &[&[0x78, 0x96, 1], &[0x7a, 2, 9, 9], &[0x79, 1, 2, 3, 4, 5, 6, 7, 8], &[0x7d, 1, 2, 3, 4]];
        for bytes in unknown {
            assert_eq!(check(sample(), bytes), Ok(0), "{bytes:?}");
        }
        let malformed: &[&[u8]] = &[
            &[0x0a],
            &[0x0a, 2, 0],
            &[0x08, 1],
            &[0],
            &[0x7b, 0x7c],
            &[0x7d, 1],
            &[0x78, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            &[0xff; 11],
        ];
        for bytes in malformed {
            assert_eq!(check(sample(), bytes), Err(Broken::Malformed), "{bytes:?}");
        }
    }
}
