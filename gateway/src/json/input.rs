//! JSON text to protobuf bytes.
//!
//! Fields are written in the order in which they arrive, which protobuf allows. A value that cannot be carried over is
//! left out and named, so that the service, which has authenticated the caller by then, can report it among its own
//! faults.

use std::borrow::Cow;

use communal_proto::contract::v1::FaultKind;
use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::decimal::{Number, NumberFault};
use super::faults::Faults;
use super::path::Path;
use super::reader::{JsonReader, Malformed, Next};
use crate::encoding::protobuf::push_varint;
use crate::plan::{FieldPlan, Kind, MessageId, Plans};

/// The allowed difference of a value from its documented JSON type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// A documented number is a JSON number, a documented string is a JSON string.
    Strict,
    /// Numbers may be strings and strings may be numbers; an empty string in place of a number or a code means absent.
    Lenient,
}

/// A block of texts in the body that does not belong to the message, like the credentials of EPEIS.
#[derive(Debug)]
pub struct Block {
    key: &'static str,
    fields: &'static [(&'static str, usize)],
    values: Vec<Option<String>>,
    seen: bool,
}

impl Block {
    /// A block of this name, with the names of its texts and their maximum lengths in characters.
    #[must_use]
    pub fn new(key: &'static str, fields: &'static [(&'static str, usize)]) -> Self {
        Self { key, fields, values: vec![None; fields.len()], seen: false }
    }

    /// Returns the texts that were found, in the order of the names.
    #[must_use]
    pub fn into_values(self) -> Vec<Option<String>> {
        self.values
    }
}

/// The destination of a key's value.
enum Target {
    Field(usize),
    Block,
    Nowhere,
}

/// A scalar that was read.
enum Scalar<'v> {
    Absent,
    Bytes(Cow<'v, str>),
    Varint(u64),
}

/// Reads one request.
#[derive(Debug)]
pub struct Input<'p> {
    plans: &'p Plans,
    strictness: Strictness,
    path: Path<'p>,
    /// The fields that were met in the open objects, innermost last.
    seen: Vec<bool>,
    wire: Vec<u8>,
    faults: Faults,
    unknown: UnknownKeys,
}

/// The characters that are percent-encoded in a header.
const HIDDEN: &AsciiSet = &CONTROLS.add(b'%');

/// The keys of a request that the interface does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnknownKeys {
    /// Their number.
    pub count: u64,
    /// The paths of the first ones.
    pub first: Vec<String>,
}

impl UnknownKeys {
    /// The most keys that are named.
    const MOST: usize = 8;
    /// The longest key that is named whole, in characters.
    const LONGEST: usize = 64;
    /// The most bytes of the header; proxies take 8 KB of all headers.
    const MOST_BYTES: usize = 2 * 1024;

    /// Returns them as the value of a header: paths with commas between, and the number of the others.
    /// Characters that a header cannot have are percent-encoded.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        if self.count == 0 {
            return None;
        }
        let mut text = String::new();
        let mut more = self.count;
        for path in &self.first {
            let path = utf8_percent_encode(path, HIDDEN).to_string();
            if text.len() + path.len() > Self::MOST_BYTES {
                break;
            }
            text.push_str(if text.is_empty() { "" } else { ", " });
            text.push_str(&path);
            more -= 1;
        }
        if more > 0 {
            text.push_str(if text.is_empty() { "" } else { ", and " });
            text.push_str(&format!("{more} more"));
        }
        HeaderValue::try_from(text).ok()
    }

    fn add(&mut self, path: &Path<'_>, key: &str) {
        self.count += 1;
        if self.first.len() < Self::MOST {
            let key: String = key.chars().take(Self::LONGEST).collect();
            let path = path.to_string();
            self.first.push(if path.is_empty() { key } else { format!("{path}.{key}") });
        }
    }
}

impl<'p> Input<'p> {
    /// An empty message with a capacity of about this many bytes.
    #[must_use]
    pub fn new(plans: &'p Plans, strictness: Strictness, capacity: usize) -> Self {
        Self {
            plans,
            strictness,
            path: Path::default(),
            seen: Vec::new(),
            wire: Vec::with_capacity(capacity),
            faults: Faults::default(),
            unknown: UnknownKeys::default(),
        }
    }

    /// Reads a body: an object that is the message, with an optional block beside its fields.
    ///
    /// # Errors
    /// Returns an error if the body is not JSON, not an object or nested too deep.
    pub fn body(&mut self, id: MessageId, body: &[u8], block: Option<&mut Block>) -> Result<(), Malformed> {
        let mut reader = JsonReader::new(body);
        let next = reader.peek()?;
        if next != Next::Object {
            // A syntax error is reported rather than the wrong kind.
            reader.skip()?;
            reader.finish()?;
            return Err(Malformed::NotAnObject);
        }
        self.object(&mut reader, id, block)?;
        reader.finish()
    }

    /// Reads the parameters of a query, which are all texts.
    pub fn parameters<'v>(&mut self, id: MessageId, parameters: impl Iterator<Item = (Cow<'v, str>, Cow<'v, str>)>) {
        let plan = self.plans.message(id);
        let mut seen = vec![false; plan.fields.len()];
        for (key, value) in parameters {
            let Some(index) = plan.find(&key, 0) else {
                self.unknown.add(&self.path, &key);
                continue;
            };
            let field = &plan.fields[index];
            self.path.enter(&field.key);
            if std::mem::replace(&mut seen[index], true) {
                self.fault(FaultKind::Repeated);
            } else if field.repeated || matches!(field.kind, Kind::Message(_)) {
                self.fault(FaultKind::Type);
            } else {
                match scalar_of_text(self.plans, self.strictness, field, &value) {
                    Ok(scalar) => write_scalar(&mut self.wire, field, &scalar, false),
                    Err(kind) => self.fault(kind),
                }
            }
            self.path.leave();
        }
    }

    /// Returns the message, the faults of the request, and the keys that were ignored.
    #[must_use]
    pub fn finish(self) -> (Vec<u8>, Faults, UnknownKeys) {
        (self.wire, self.faults, self.unknown)
    }

    /// Names a fault outside the message.
    pub fn fault_at(&mut self, field: String, kind: FaultKind) {
        self.faults.push(field, kind);
    }

    fn fault(&mut self, kind: FaultKind) {
        self.faults.push(self.path.to_string(), kind);
    }

    fn object(
        &mut self,
        reader: &mut JsonReader<'_>,
        id: MessageId,
        mut block: Option<&mut Block>,
    ) -> Result<(), Malformed> {
        let plan = self.plans.message(id);
        let base = self.seen.len();
        self.seen.resize(base + plan.fields.len(), false);
        let mut guess = 0;
        let mut begun = false;
        loop {
            let key = if begun { reader.next_key()? } else { reader.first_key()? };
            begun = true;
            let Some(key) = key else { break };
            let target = match plan.find(key, guess) {
                Some(index) => Target::Field(index),
                None if block.as_deref().is_some_and(|block| block.key == key) => Target::Block,
                None => Target::Nowhere,
            };
            match (target, block.as_deref_mut()) {
                (Target::Field(index), _) => {
                    guess = index + 1;
                    let field = &plan.fields[index];
                    self.path.enter(&field.key);
                    if std::mem::replace(&mut self.seen[base + index], true) {
                        // The first value stays in the message; the call is refused anyway.
                        self.fault(FaultKind::Repeated);
                        reader.skip()?;
                    } else {
                        self.value(reader, field)?;
                    }
                    self.path.leave();
                }
                (Target::Block, Some(block)) => self.block(reader, block)?,
                _ => {
                    self.unknown.add(&self.path, key);
                    reader.skip()?;
                }
            }
        }
        self.seen.truncate(base);
        Ok(())
    }

    fn block(&mut self, reader: &mut JsonReader<'_>, block: &mut Block) -> Result<(), Malformed> {
        self.path.enter(block.key);
        if std::mem::replace(&mut block.seen, true) {
            self.fault(FaultKind::Repeated);
            reader.skip()?;
        } else {
            match reader.peek()? {
                Next::Object => self.block_fields(reader, block)?,
                Next::Null => reader.skip()?,
                _ => {
                    self.fault(FaultKind::Type);
                    reader.skip()?;
                }
            }
        }
        self.path.leave();
        Ok(())
    }

    fn block_fields(&mut self, reader: &mut JsonReader<'_>, block: &mut Block) -> Result<(), Malformed> {
        let mut seen = vec![false; block.fields.len()];
        let mut begun = false;
        loop {
            let key = if begun { reader.next_key()? } else { reader.first_key()? };
            begun = true;
            let Some(key) = key else { return Ok(()) };
            let Some(index) = block.fields.iter().position(|(name, _)| *name == key) else {
                self.unknown.add(&self.path, key);
                reader.skip()?;
                continue;
            };
            let (name, longest) = block.fields[index];
            self.path.enter(name);
            if std::mem::replace(&mut seen[index], true) {
                self.fault(FaultKind::Repeated);
                reader.skip()?;
            } else {
                match reader.peek()? {
                    Next::Text => {
                        let text = reader.text()?;
                        if text.chars().count() > longest {
                            self.fault(FaultKind::Length);
                        } else if !text.is_empty() {
                            block.values[index] = Some(text.to_owned());
                        }
                    }
                    Next::Null => reader.skip()?,
                    _ => {
                        self.fault(FaultKind::Type);
                        reader.skip()?;
                    }
                }
            }
            self.path.leave();
        }
    }

    fn value(&mut self, reader: &mut JsonReader<'_>, field: &'p FieldPlan) -> Result<(), Malformed> {
        match reader.peek()? {
            Next::Null => reader.skip(),
            Next::Array if field.repeated => self.rows(reader, field),
            _ if field.repeated => {
                self.fault(FaultKind::Type);
                reader.skip()
            }
            next => self.single(reader, field, next, false),
        }
    }

    fn rows(&mut self, reader: &mut JsonReader<'_>, field: &'p FieldPlan) -> Result<(), Malformed> {
        let mut row = 0;
        let mut more = reader.first_row()?;
        while more {
            if row == field.max_rows {
                self.fault(FaultKind::Rows);
            }
            if row >= field.max_rows {
                reader.skip()?;
            } else {
                self.path.enter_row(row);
                let next = reader.peek()?;
                self.single(reader, field, next, true)?;
                self.path.leave();
            }
            row += 1;
            more = reader.next_row()?;
        }
        Ok(())
    }

    fn single(
        &mut self,
        reader: &mut JsonReader<'_>,
        field: &'p FieldPlan,
        next: Next,
        in_array: bool,
    ) -> Result<(), Malformed> {
        let scalar = match (field.kind, next) {
            (Kind::Message(id), Next::Object) => {
                self.wire.extend_from_slice(&field.tag);
                let start = self.wire.len();
                self.wire.push(0);
                self.object(reader, id, None)?;
                close_length(&mut self.wire, start);
                return Ok(());
            }
            (Kind::Message(_), _) | (_, Next::Null | Next::Bool | Next::Array | Next::Object) => {
                reader.skip()?;
                Err(FaultKind::Type)
            }
            (_, Next::Text) => scalar_of_text(self.plans, self.strictness, field, reader.text()?),
            (_, Next::Number) => scalar_of_number(self.plans, self.strictness, field, reader.number()?),
        };
        match scalar {
            Ok(scalar) => write_scalar(&mut self.wire, field, &scalar, in_array),
            Err(kind) => {
                self.fault(kind);
                if in_array {
                    // An empty row keeps the indexes of the others.
                    write_scalar(&mut self.wire, field, &Scalar::Absent, true);
                }
            }
        }
        Ok(())
    }
}

fn scalar_of_text<'v>(
    plans: &Plans,
    strictness: Strictness,
    field: &FieldPlan,
    text: &'v str,
) -> Result<Scalar<'v>, FaultKind> {
    match (field.kind, strictness) {
        // The service says the same of one that is too long; it takes no message that is much too large.
        (Kind::Text, _) if text.len() > field.longest => Err(FaultKind::Length),
        (Kind::Text, _) => Ok(Scalar::Bytes(Cow::Borrowed(text))),
        (Kind::Code(_), _) | (_, Strictness::Lenient) if text.is_empty() => Ok(Scalar::Absent),
        (Kind::Code(codes), _) => code(plans.codes(codes).number(text)),
        (_, Strictness::Strict) => Err(FaultKind::Type),
        (_, Strictness::Lenient) => number_of(field, text),
    }
}

fn scalar_of_number<'v>(
    plans: &Plans,
    strictness: Strictness,
    field: &FieldPlan,
    text: &'v str,
) -> Result<Scalar<'v>, FaultKind> {
    match (field.kind, strictness) {
        (Kind::Text | Kind::Code(_), Strictness::Strict) => Err(FaultKind::Type),
        (Kind::Text, Strictness::Lenient) => number(Kind::Text, text),
        (Kind::Code(codes), Strictness::Lenient) => match number(Kind::Text, text)? {
            Scalar::Bytes(plain) => code(plans.codes(codes).number(&plain)),
            _ => Err(FaultKind::Code),
        },
        _ => number_of(field, text),
    }
}

/// Reads the number of a field. The message cannot tell zero from nothing, so a zero that is too low is a fault here.
fn number_of<'v>(field: &FieldPlan, text: &'v str) -> Result<Scalar<'v>, FaultKind> {
    match number(field.kind, text)? {
        Scalar::Varint(0) if field.above_zero => Err(FaultKind::Range),
        scalar => Ok(scalar),
    }
}

fn code(number: Option<i32>) -> Result<Scalar<'static>, FaultKind> {
    // Codes are numbered from zero up, so no value is lost.
    number.map(|number| Scalar::Varint(u64::from(number.unsigned_abs()))).ok_or(FaultKind::Code)
}

/// Reads the text of a number as the field's kind: an integer, or the plain notation.
fn number(kind: Kind, text: &str) -> Result<Scalar<'_>, FaultKind> {
    let whole = matches!(kind, Kind::Int32 | Kind::Int64);
    let number = match Number::parse(text) {
        Ok(number) => number,
        Err(NumberFault::Syntax) => return Err(FaultKind::Type),
        Err(NumberFault::Length) if whole => return Err(FaultKind::Range),
        Err(NumberFault::Length) => return Err(FaultKind::Length),
        Err(NumberFault::Scale) if whole => return Err(FaultKind::Type),
        Err(NumberFault::Scale) => return Err(FaultKind::Scale),
    };
    if !whole {
        return Ok(Scalar::Bytes(number.into_plain()));
    }
    let value = number.whole().ok_or(FaultKind::Type)?.map_err(|_| FaultKind::Range)?;
    if kind == Kind::Int32 && i32::try_from(value).is_err() {
        return Err(FaultKind::Range);
    }
    Ok(Scalar::Varint(value.cast_unsigned()))
}

/// Writes a field. A default value is written too in an array, and in a field where presence has a meaning; elsewhere
/// protobuf leaves it out.
fn write_scalar(wire: &mut Vec<u8>, field: &FieldPlan, scalar: &Scalar<'_>, in_array: bool) {
    let nothing = match scalar {
        Scalar::Absent => !in_array,
        Scalar::Bytes(text) => text.is_empty() && !in_array && !field.presence,
        Scalar::Varint(value) => *value == 0 && !in_array && !field.presence,
    };
    if nothing {
        return;
    }
    wire.extend_from_slice(&field.tag);
    match scalar {
        Scalar::Absent => wire.push(0),
        Scalar::Bytes(text) => {
            push_varint(wire, text.len() as u64);
            wire.extend_from_slice(text.as_bytes());
        }
        Scalar::Varint(value) => push_varint(wire, *value),
    }
}

/// Writes the length of a message into the byte that was kept for it at `start`, and moves the message if one byte is not
/// enough.
fn close_length(wire: &mut Vec<u8>, start: usize) {
    let length = wire.len() - start - 1;
    if length < 0x80 {
        wire[start] = length as u8;
        return;
    }
    let mut prefix = Vec::with_capacity(5);
    push_varint(&mut prefix, length as u64);
    let more = prefix.len() - 1;
    let end = wire.len();
    wire.resize(end + more, 0);
    wire.copy_within(start + 1..end, start + 1 + more);
    wire[start..start + prefix.len()].copy_from_slice(&prefix);
}
