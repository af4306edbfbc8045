//! The plan of a message: its fields in documented order, with everything precomputed that
//! transcoding needs.

use std::collections::{HashMap, HashSet};

use prost_reflect::{Cardinality, EnumDescriptor, FieldDescriptor, Kind as WireKind, MessageDescriptor};

use super::{ContractError, Options};
use crate::encoding::json::push_json_text;
use crate::encoding::protobuf::push_varint;

/// Field and enum numbers above this are refused, so that lookups can be plain tables.
const HIGHEST_NUMBER: u32 = 1 << 12;

/// Rows that an array without a documented limit may have. A body of 10 MB could otherwise
/// become millions of empty rows, each of which the service would have to hold.
const MOST_ROWS: usize = 10_000;

/// Points at a [`MessagePlan`] in [`Plans`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId(pub(crate) usize);

/// Points at a [`CodePlan`] in [`Plans`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeId(pub(crate) usize);

/// All message and code plans of a contract.
#[derive(Debug, Default)]
pub struct Plans {
    messages: Vec<MessagePlan>,
    codes: Vec<CodePlan>,
}

impl Plans {
    /// The plan of a message.
    #[must_use]
    pub fn message(&self, id: MessageId) -> &MessagePlan {
        &self.messages[id.0]
    }

    /// The plan of an enum.
    #[must_use]
    pub fn codes(&self, id: CodeId) -> &CodePlan {
        &self.codes[id.0]
    }

    /// The keys that a field writes into the object around it.
    fn keys<'p>(&'p self, field: &'p FieldPlan) -> Vec<&'p str> {
        match field.kind {
            Kind::Message(id) if field.inline => self.message(id).fields.iter().flat_map(|f| self.keys(f)).collect(),
            _ => vec![&field.key],
        }
    }

    /// Returns true if the object of a message has the key.
    pub(crate) fn has_key(&self, id: MessageId, key: &str) -> bool {
        self.message(id).fields.iter().any(|field| self.keys(field).contains(&key))
    }

    /// The inline field of a message or of a message inside it.
    pub(crate) fn inline_field(&self, id: MessageId) -> Option<&FieldPlan> {
        self.message(id).fields.iter().find_map(|field| match field.kind {
            Kind::Message(_) if field.inline => Some(field),
            Kind::Message(inner) => self.inline_field(inner),
            _ => None,
        })
    }

    /// The number of messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Returns true if nothing has a route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

/// A message, its fields in the order of declaration.
#[derive(Debug)]
pub struct MessagePlan {
    /// Full protobuf name.
    pub name: String,
    /// The fields in documented order.
    pub fields: Vec<FieldPlan>,
    /// Field number → index into `fields`, plus one; zero is unknown.
    by_number: Vec<u16>,
    by_key: Known<usize>,
    /// The message with nothing set, as a JSON object.
    pub(crate) empty: Box<[u8]>,
}

impl MessagePlan {
    /// The index of a field by its number.
    pub(crate) fn index_of(&self, number: u32) -> Option<usize> {
        let slot = *self.by_number.get(usize::try_from(number).ok()?)?;
        usize::from(slot).checked_sub(1)
    }

    /// The index of a field by its documented name. Clients mostly send the documented
    /// order, so the field after the last one is tried before the table.
    pub(crate) fn find(&self, key: &str, guess: usize) -> Option<usize> {
        if self.fields.get(guess).is_some_and(|field| &*field.key == key) {
            return Some(guess);
        }
        self.by_key.get(key).copied()
    }
}

/// A table of the contract, by name. Callers look up and never insert, so they cannot make names
/// collide, and a fast hash is safe.
type Known<V> = HashMap<Box<str>, V, foldhash::fast::RandomState>;

/// The kind of a field, on the wire and in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A string on the wire, a bare number with this many digits after the point in JSON.
    Decimal {
        /// Digits after the point.
        scale: u32,
    },
    /// A number.
    Int32,
    /// A number; bare in JSON however large, as the documents have it.
    Int64,
    /// An enum on the wire, its documented code in JSON.
    Code(CodeId),
    /// An object.
    Message(MessageId),
}

/// A field.
#[derive(Debug)]
pub struct FieldPlan {
    /// The documented name.
    pub key: Box<str>,
    /// Field number.
    pub number: u32,
    /// The kind.
    pub kind: Kind,
    /// True for an array.
    pub repeated: bool,
    /// True for a message whose fields are written as fields of the message around it.
    pub inline: bool,
    /// True if set to nothing differs from not set (`optional`). Such a field is left out of
    /// an answer when unset.
    pub presence: bool,
    /// True for a number that must be given and be above zero: the message cannot tell zero from nothing, so zero is a fault
    /// here.
    pub above_zero: bool,
    /// Most rows that are accepted.
    pub max_rows: usize,
    /// Most bytes of a text: a longer one has more characters than are accepted, however they are encoded.
    pub longest: usize,
    /// `,"KEY":`; empty for an inline field.
    pub(crate) lead: Box<[u8]>,
    /// `,"KEY":` and the value of an unset field; empty when an unset field is left out.
    pub(crate) unset: Box<[u8]>,
    /// The tag as written before a value.
    pub(crate) tag: Box<[u8]>,
}

impl FieldPlan {
    /// The wire type of one value.
    pub(crate) fn wire_type(&self) -> u8 {
        match self.kind {
            Kind::Int32 | Kind::Int64 | Kind::Code(_) => 0,
            Kind::Text | Kind::Decimal { .. } | Kind::Message(_) => 2,
        }
    }
}

/// The documented codes of an enum.
#[derive(Debug)]
pub struct CodePlan {
    /// Full protobuf name.
    pub name: String,
    /// Enum number → the code as JSON text; `None` is no value of the enum.
    by_number: Vec<Option<Box<[u8]>>>,
    by_code: Known<i32>,
}

impl CodePlan {
    /// The code as JSON text, quotes included.
    pub(crate) fn json(&self, number: u64) -> Option<&[u8]> {
        self.by_number.get(usize::try_from(number).ok()?)?.as_deref()
    }

    /// The number of a code or one of its aliases.
    pub(crate) fn number(&self, code: &str) -> Option<i32> {
        self.by_code.get(code).copied()
    }
}

/// Compiles messages on demand, each once.
pub(crate) struct Compiler<'o> {
    options: &'o Options,
    plans: Plans,
    messages: HashMap<String, MessageId>,
    codes: HashMap<String, CodeId>,
    /// Names of the messages that are being compiled: meeting one again is a cycle.
    open: Vec<String>,
}

impl<'o> Compiler<'o> {
    pub(crate) fn new(options: &'o Options) -> Self {
        Self { options, plans: Plans::default(), messages: HashMap::new(), codes: HashMap::new(), open: Vec::new() }
    }

    pub(crate) fn finish(self) -> Plans {
        self.plans
    }

    pub(crate) fn plans(&self) -> &Plans {
        &self.plans
    }

    pub(crate) fn message(&mut self, descriptor: &MessageDescriptor) -> Result<MessageId, ContractError> {
        let name = descriptor.full_name();
        if let Some(&known) = self.messages.get(name) {
            return Ok(known);
        }
        if self.open.iter().any(|open| open == name) {
            return Err(ContractError::shape(name, "contains itself; an answer with every key would never end"));
        }
        self.open.push(name.to_owned());
        let mut fields = Vec::new();
        // `fields()` would give them by number; the documented order is that of the file.
        for declared in &descriptor.descriptor_proto().field {
            let field = descriptor
                .get_field_by_name(declared.name())
                .ok_or_else(|| ContractError::shape(name, "has a field that cannot be found by its name"))?;
            if !self.options.field(&field)?.grpc_only {
                fields.push(self.field(&field)?);
            }
        }
        self.open.pop();
        let plan = message_plan(name, fields, &self.plans)?;
        let id = MessageId(self.plans.messages.len());
        self.plans.messages.push(plan);
        self.messages.insert(name.to_owned(), id);
        Ok(id)
    }

    fn field(&mut self, field: &FieldDescriptor) -> Result<FieldPlan, ContractError> {
        let name = field.full_name();
        let fault = |problem: &str| Err(ContractError::shape(name, problem));
        if field.is_map() {
            return fault("is a map; no documented shape has one");
        }
        if field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic()) {
            return fault("is in a oneof; no documented shape has one");
        }
        if field.cardinality() == Cardinality::Required {
            return fault("is a proto2 required field");
        }
        if field.number() >= HIGHEST_NUMBER {
            return fault("has too high a number");
        }
        let rules = self.options.field(field)?;
        let kind = match (field.kind(), rules.scale) {
            (WireKind::String, Some(scale)) if scale <= 28 => Kind::Decimal { scale },
            (WireKind::String, Some(_)) => return fault("has more digits after the point than a decimal holds"),
            (_, Some(_)) => return fault("has a scale but is no string"),
            (WireKind::String, None) => Kind::Text,
            (WireKind::Int32, None) => Kind::Int32,
            (WireKind::Int64, None) => Kind::Int64,
            (WireKind::Enum(codes), None) => Kind::Code(self.codes(&codes)?),
            (WireKind::Message(message), None) => Kind::Message(self.message(&message)?),
            (other, None) => return fault(&format!("is of type {other:?}, which no documented shape has")),
        };
        let repeated = field.is_list();
        if rules.inline && (repeated || !matches!(kind, Kind::Message(_))) {
            return fault("is inline but is no single message");
        }
        let mut lead = Vec::new();
        if !rules.inline {
            lead.push(b',');
            push_json_text(&mut lead, field.json_name());
            lead.push(b':');
        }
        let presence = !repeated && !matches!(kind, Kind::Message(_)) && field.supports_presence();
        let mut unset = Vec::new();
        if !presence {
            unset.extend_from_slice(&lead);
            match kind {
                _ if repeated => unset.extend_from_slice(b"[]"),
                Kind::Text | Kind::Code(_) => unset.extend_from_slice(b"\"\""),
                Kind::Int32 | Kind::Int64 => unset.push(b'0'),
                Kind::Decimal { scale } => push_zero(&mut unset, scale),
                Kind::Message(id) if rules.inline => {
                    for field in &self.plans.message(id).fields {
                        unset.extend_from_slice(&field.unset);
                    }
                }
                Kind::Message(id) => unset.extend_from_slice(&self.plans.message(id).empty),
            }
        }
        let max_rows = match rules.max_rows {
            0 => MOST_ROWS,
            limit => usize::try_from(limit).unwrap_or(MOST_ROWS),
        };
        let longest = match rules.length {
            0 => usize::MAX,
            characters => usize::try_from(characters).map_or(usize::MAX, |characters| characters.saturating_mul(4)),
        };
        let above_zero = rules.required
            && !presence
            && matches!(kind, Kind::Int32 | Kind::Int64)
            && rules.minimum.parse::<i64>().is_ok_and(|least| least > 0);
        let mut plan = FieldPlan {
            key: field.json_name().into(),
            number: field.number(),
            kind,
            repeated,
            inline: rules.inline,
            presence,
            above_zero,
            max_rows,
            longest,
            lead: lead.into(),
            unset: unset.into(),
            tag: Box::default(),
        };
        let mut tag = Vec::new();
        push_varint(&mut tag, u64::from(plan.number) << 3 | u64::from(plan.wire_type()));
        plan.tag = tag.into();
        Ok(plan)
    }

    fn codes(&mut self, descriptor: &EnumDescriptor) -> Result<CodeId, ContractError> {
        let name = descriptor.full_name();
        if let Some(&known) = self.codes.get(name) {
            return Ok(known);
        }
        let mut by_number: Vec<Option<Box<[u8]>>> = Vec::new();
        let mut by_code = Known::default();
        for value in descriptor.values() {
            let number = value.number();
            let slot = usize::try_from(number).ok().filter(|&slot| slot < HIGHEST_NUMBER as usize);
            let Some(slot) = slot else {
                return Err(ContractError::shape(value.full_name(), "has a number below zero or too high"));
            };
            let rules = self.options.code(&value)?.unwrap_or_default();
            if number != 0 && rules.code.is_empty() {
                return Err(ContractError::shape(value.full_name(), "has no documented code"));
            }
            let mut json = Vec::new();
            push_json_text(&mut json, &rules.code);
            if by_number.len() <= slot {
                by_number.resize(slot + 1, None);
            }
            by_number[slot] = Some(json.into());
            for code in std::iter::once(rules.code).chain(rules.alias).filter(|code| !code.is_empty()) {
                if by_code.insert(code.clone().into_boxed_str(), number).is_some_and(|other| other != number) {
                    return Err(ContractError::shape(name, format!("the code {code} stands for two values")));
                }
            }
        }
        let id = CodeId(self.plans.codes.len());
        self.plans.codes.push(CodePlan { name: name.to_owned(), by_number, by_code });
        self.codes.insert(name.to_owned(), id);
        Ok(id)
    }
}

fn message_plan(name: &str, fields: Vec<FieldPlan>, plans: &Plans) -> Result<MessagePlan, ContractError> {
    let keys = fields.iter().flat_map(|field| plans.keys(field));
    if let Some(key) = repeated(keys) {
        return Err(ContractError::shape(name, format!("has two fields of the documented name {key}")));
    }

    let mut by_number = Vec::new();
    let mut by_key = Known::default();
    let mut empty = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let number = field.number as usize;
        if by_number.len() <= number {
            by_number.resize(number + 1, 0);
        }
        by_number[number] = u16::try_from(index + 1)
            .map_err(|_| ContractError::shape(name, "has more fields than the transcoder serves"))?;
        by_key.insert(field.key.clone(), index);
        empty.extend_from_slice(&field.unset);
    }
    match empty.first_mut() {
        Some(comma) => *comma = b'{',
        None => empty.push(b'{'),
    }
    empty.push(b'}');
    Ok(MessagePlan { name: name.to_owned(), fields, by_number, by_key, empty: empty.into() })
}

/// The first text that is repeated.
fn repeated<'t>(texts: impl Iterator<Item = &'t str>) -> Option<&'t str> {
    let mut seen = HashSet::new();
    texts.into_iter().find(|text| !seen.insert(*text))
}

/// `0`, or `0.00` with as many zeros as the scale asks for.
pub(crate) fn push_zero(out: &mut Vec<u8>, scale: u32) {
    out.push(b'0');
    if scale > 0 {
        out.push(b'.');
        out.extend(std::iter::repeat_n(b'0', scale as usize));
    }
}
