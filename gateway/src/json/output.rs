//! Protobuf bytes to JSON text.
//!
//! Every documented key is written, in documented order. Most messages arrive in that order and are written while they
//! are read. Rows that are stored encoded arrive as the stored bytes followed by the fields that changed since, so a field
//! may come after its place, or twice, in which case the last one counts. Such a message is surveyed first and written
//! from the survey. Once a message of a kind needed this, its siblings in the same answer are surveyed immediately.

use super::decimal::push_decimal;
use crate::encoding::json::{push_integer, push_json_bytes};
use crate::encoding::protobuf::{BYTES, VARINT, WireReader};
use crate::plan::{FieldPlan, Kind, MessageId, MessagePlan, Plans};

/// Bytes of a service that break the contract: our error, never the client's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// The bytes are not protobuf, or a field has another wire type than the contract says.
    #[error("the reply is no valid {message}")]
    Wire {
        /// Name of the message.
        message: String,
    },
    /// A value that its field cannot have.
    #[error("{message} has a value of {key} that is no {expected}")]
    Value {
        /// Name of the message.
        message: String,
        /// Documented name of the field.
        key: String,
        /// The expected kind of value in the contract.
        expected: &'static str,
    },
}

impl Defect {
    fn wire(plan: &MessagePlan) -> Self {
        Self::Wire { message: plan.name.clone() }
    }

    fn value(plan: &MessagePlan, field: &FieldPlan, expected: &'static str) -> Self {
        Self::Value { message: plan.name.clone(), key: field.key.to_string(), expected }
    }
}

/// The places of a field's values.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Start of the first tag.
    first: usize,
    /// Start of the last tag.
    last: usize,
    /// The number of values.
    count: usize,
}

/// Writes answers.
#[derive(Debug)]
pub struct Output<'p> {
    plans: &'p Plans,
    out: Vec<u8>,
    /// By kind of message: whether one came out of order before.
    out_of_order: Vec<bool>,
    /// The surveys of the messages being written, innermost last.
    places: Vec<Place>,
}

impl<'p> Output<'p> {
    /// A writer that appends to `out`.
    #[must_use]
    pub fn new(plans: &'p Plans, out: Vec<u8>) -> Self {
        Self { plans, out, out_of_order: vec![false; plans.len()], places: Vec::new() }
    }

    /// Returns the bytes that were written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Appends text as it is.
    pub fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Appends a message as an object.
    ///
    /// # Errors
    /// Returns a `Defect` if the bytes break the contract.
    pub fn object(&mut self, id: MessageId, wire: &[u8]) -> Result<(), Defect> {
        let start = self.out.len();
        self.fields(id, wire)?;
        // Each field began with a comma; the first of them opens the object.
        match self.out.get_mut(start) {
            Some(comma) => *comma = b'{',
            None => self.out.push(b'{'),
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Appends the value of a message field.
    fn message(&mut self, field: &FieldPlan, id: MessageId, wire: &[u8]) -> Result<(), Defect> {
        if field.inline { self.fields(id, wire) } else { self.object(id, wire) }
    }

    /// Appends the fields of a message, each with a comma before it.
    ///
    /// # Errors
    /// Returns a `Defect` if the bytes break the contract.
    pub fn fields(&mut self, id: MessageId, wire: &[u8]) -> Result<(), Defect> {
        let plan = self.plans.message(id);
        if !self.out_of_order[id.0] {
            let start = self.out.len();
            if self.as_it_comes(plan, wire)? {
                return Ok(());
            }
            self.out.truncate(start);
            self.out_of_order[id.0] = true;
        }
        self.by_survey(plan, wire)
    }

    /// Writes while reading. Returns `false` if a field came after its place.
    fn as_it_comes(&mut self, plan: &'p MessagePlan, wire: &[u8]) -> Result<bool, Defect> {
        let mut reader = WireReader::new(wire);
        let mut next = 0;
        while !reader.is_done() {
            let (number, wire_type) = reader.tag().ok_or_else(|| Defect::wire(plan))?;
            let Some(index) = plan.index_of(number) else {
                reader.skip(wire_type).ok_or_else(|| Defect::wire(plan))?;
                continue;
            };
            if index < next {
                return Ok(false);
            }
            for unset in &plan.fields[next..index] {
                self.out.extend_from_slice(&unset.unset);
            }
            let field = &plan.fields[index];
            self.out.extend_from_slice(&field.lead);
            if field.repeated {
                reader = self.run(plan, field, reader, wire_type)?;
            } else {
                self.single(plan, field, &mut reader, wire_type)?;
            }
            next = index + 1;
        }
        for unset in &plan.fields[next..] {
            self.out.extend_from_slice(&unset.unset);
        }
        Ok(true)
    }

    /// Writes the values of a repeated field that follow each other directly. The first tag has been read.
    fn run<'w>(
        &mut self,
        plan: &'p MessagePlan,
        field: &'p FieldPlan,
        mut reader: WireReader<'w>,
        mut wire_type: u8,
    ) -> Result<WireReader<'w>, Defect> {
        self.out.push(b'[');
        let mut first = true;
        loop {
            self.elements(plan, field, &mut reader, wire_type, &mut first)?;
            let mut ahead = reader;
            if ahead.is_done() {
                break;
            }
            let (number, next_type) = ahead.tag().ok_or_else(|| Defect::wire(plan))?;
            if number != field.number {
                break;
            }
            wire_type = next_type;
            reader = ahead;
        }
        self.out.push(b']');
        Ok(reader)
    }

    /// Writes from a survey of the fields' places.
    fn by_survey(&mut self, plan: &'p MessagePlan, wire: &[u8]) -> Result<(), Defect> {
        let base = self.places.len();
        self.places.resize(base + plan.fields.len(), Place::default());
        let mut reader = WireReader::new(wire);
        while !reader.is_done() {
            let start = reader.position();
            let (number, wire_type) = reader.tag().ok_or_else(|| Defect::wire(plan))?;
            if let Some(index) = plan.index_of(number) {
                let place = &mut self.places[base + index];
                if place.count == 0 {
                    place.first = start;
                }
                place.last = start;
                place.count += 1;
            }
            reader.skip(wire_type).ok_or_else(|| Defect::wire(plan))?;
        }
        for (index, field) in plan.fields.iter().enumerate() {
            let place = self.places[base + index];
            if place.count == 0 {
                self.out.extend_from_slice(&field.unset);
                continue;
            }
            self.out.extend_from_slice(&field.lead);
            match field.kind {
                _ if field.repeated => self.scattered(plan, field, wire, place)?,
                Kind::Message(inner) if place.count > 1 => {
                    let merged = merged(plan, field, wire, place)?;
                    self.message(field, inner, &merged)?;
                }
                _ => {
                    let mut reader = WireReader::at(wire, place.last);
                    let (_, wire_type) = reader.tag().ok_or_else(|| Defect::wire(plan))?;
                    self.single(plan, field, &mut reader, wire_type)?;
                }
            }
        }
        self.places.truncate(base);
        Ok(())
    }

    /// Writes the values of a repeated field with other fields between them.
    fn scattered(
        &mut self,
        plan: &'p MessagePlan,
        field: &'p FieldPlan,
        wire: &[u8],
        place: Place,
    ) -> Result<(), Defect> {
        self.out.push(b'[');
        let mut first = true;
        let mut reader = WireReader::at(wire, place.first);
        while reader.position() <= place.last {
            let (number, wire_type) = reader.tag().ok_or_else(|| Defect::wire(plan))?;
            if number == field.number {
                self.elements(plan, field, &mut reader, wire_type, &mut first)?;
            } else {
                reader.skip(wire_type).ok_or_else(|| Defect::wire(plan))?;
            }
        }
        self.out.push(b']');
        Ok(())
    }

    /// Writes one value of a repeated field, or several packed numbers.
    fn elements(
        &mut self,
        plan: &'p MessagePlan,
        field: &'p FieldPlan,
        reader: &mut WireReader<'_>,
        wire_type: u8,
        first: &mut bool,
    ) -> Result<(), Defect> {
        if field.wire_type() == VARINT && wire_type == BYTES {
            let mut packed = WireReader::new(reader.bytes().ok_or_else(|| Defect::wire(plan))?);
            while !packed.is_done() {
                self.comma(first);
                self.single(plan, field, &mut packed, VARINT)?;
            }
            return Ok(());
        }
        self.comma(first);
        self.single(plan, field, reader, wire_type)
    }

    fn comma(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.out.push(b',');
        }
    }

    /// Writes one value whose tag has been read.
    fn single(
        &mut self,
        plan: &'p MessagePlan,
        field: &'p FieldPlan,
        reader: &mut WireReader<'_>,
        wire_type: u8,
    ) -> Result<(), Defect> {
        if wire_type != field.wire_type() {
            return Err(Defect::wire(plan));
        }
        if wire_type == VARINT {
            let value = reader.varint().ok_or_else(|| Defect::wire(plan))?;
            match field.kind {
                Kind::Code(codes) => {
                    let code = self.plans.codes(codes).json(value);
                    self.out.extend_from_slice(code.ok_or_else(|| Defect::value(plan, field, "documented code"))?);
                }
                // As in every protobuf reader, an int32 is the low half.
                Kind::Int32 => push_integer(&mut self.out, i64::from(value as i32)),
                _ => push_integer(&mut self.out, value.cast_signed()),
            }
            return Ok(());
        }
        let value = reader.bytes().ok_or_else(|| Defect::wire(plan))?;
        match field.kind {
            Kind::Message(inner) => self.message(field, inner, value),
            Kind::Decimal { scale } => {
                // In proto3 an unset value is zero.
                let text = if value.is_empty() { b"0" } else { value };
                push_decimal(&mut self.out, text, scale).ok_or_else(|| Defect::value(plan, field, "decimal"))
            }
            _ => push_json_bytes(&mut self.out, value).ok_or_else(|| Defect::value(plan, field, "UTF-8")),
        }
    }
}

/// Merges the values of a message field that was set several times: protobuf merges messages by concatenating their bytes.
fn merged(plan: &MessagePlan, field: &FieldPlan, wire: &[u8], place: Place) -> Result<Vec<u8>, Defect> {
    let mut merged = Vec::new();
    let mut reader = WireReader::at(wire, place.first);
    while reader.position() <= place.last {
        let (number, wire_type) = reader.tag().ok_or_else(|| Defect::wire(plan))?;
        if number == field.number && wire_type == BYTES {
            merged.extend_from_slice(reader.bytes().ok_or_else(|| Defect::wire(plan))?);
        } else {
            reader.skip(wire_type).ok_or_else(|| Defect::wire(plan))?;
        }
    }
    Ok(merged)
}
