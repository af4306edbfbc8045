//! Schemas of messages.

use std::collections::BTreeMap;

use communal_proto::contract::v1::{Dialect, FieldRules, Format};
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::comments::Comments;
use crate::plan::{ContractError, Options};

/// The direction of a message: a request may leave fields out and use aliases, a reply has every key and canonical codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Request(Dialect),
    Reply,
    /// The parameters of a URL, which are texts without a type of their own.
    Query,
}

/// Gathers the schemas to which others refer.
pub(super) struct Schemas<'c> {
    options: &'c Options,
    comments: &'c Comments,
    named: BTreeMap<String, Value>,
}

impl<'c> Schemas<'c> {
    pub(super) fn new(options: &'c Options, comments: &'c Comments) -> Self {
        Self { options, comments, named: BTreeMap::new() }
    }

    pub(super) fn finish(self) -> Map<String, Value> {
        self.named.into_iter().collect()
    }

    /// Returns a reference to the schema of a message; makes the schema at the first call.
    pub(super) fn reference(
        &mut self,
        message: &MessageDescriptor,
        direction: Direction,
    ) -> Result<Value, ContractError> {
        let package = message.package_name().trim_start_matches("communal.").trim_end_matches(".v1");
        let suffix = if direction == Direction::Reply { "" } else { ".Request" };
        let name = format!("{package}.{}{suffix}", message.name());
        if !self.named.contains_key(&name) {
            let schema = self.inline(message, direction)?;
            self.named.insert(name.clone(), schema);
        }
        Ok(json!({ "$ref": format!("#/components/schemas/{name}") }))
    }

    /// The schema of a message itself.
    pub(super) fn inline(&mut self, message: &MessageDescriptor, direction: Direction) -> Result<Value, ContractError> {
        let mut properties = Map::new();
        let mut required = Vec::new();
        self.members(message, direction, &mut properties, &mut required)?;
        Ok(json!({
            "type": "object",
            "description": self.comments.of_message(message),
            "required": required,
            "properties": properties,
        }))
    }

    /// The fields of a message and of its inline fields, as they stand in one object.
    fn members(
        &mut self,
        message: &MessageDescriptor,
        direction: Direction,
        properties: &mut Map<String, Value>,
        required: &mut Vec<String>,
    ) -> Result<(), ContractError> {
        for field in declared(message) {
            let rules = self.options.field(&field)?;
            if rules.grpc_only {
                continue;
            }
            if let (true, Kind::Message(inner)) = (rules.inline, field.kind()) {
                self.members(&inner, direction, properties, required)?;
                continue;
            }
            let optional = direction == Direction::Reply && is_optional(&field);
            if !optional && (rules.required || direction == Direction::Reply) {
                required.push(field.json_name().to_owned());
            }
            properties.insert(field.json_name().to_owned(), self.field(&field, &rules, direction)?);
        }
        Ok(())
    }

    /// The fields of a message as parameters of a query.
    pub(super) fn parameters(&mut self, message: &MessageDescriptor) -> Result<Vec<Value>, ContractError> {
        let mut parameters = Vec::new();
        for field in declared(message) {
            let rules = self.options.field(&field)?;
            if rules.grpc_only {
                continue;
            }
            let mut parameter = json!({
                "name": field.json_name(),
                "in": "query",
                "required": rules.required,
                "description": self.description(&field, &rules),
                "schema": self.field(&field, &rules, Direction::Query)?,
            });
            // The page fills in what stands here, and not the examples of a schema.
            if let Some(example) = example(&field, &rules).filter(|_| rules.required || rules.in_examples) {
                parameter["example"] = example;
            }
            parameters.push(parameter);
        }
        Ok(parameters)
    }

    /// A request that can be sent as it is: what is required, with documented examples, and a filter where all would
    /// be too much. `None` if a required field has no example.
    pub(super) fn example_of(&self, message: &MessageDescriptor) -> Result<Option<Map<String, Value>>, ContractError> {
        let mut whole = Map::new();
        for field in declared(message) {
            let rules = self.options.field(&field)?;
            let is_filter = matches!(field.kind(), Kind::Message(_)) && !rules.example.is_empty();
            if rules.grpc_only || !(rules.required || rules.in_examples || is_filter) {
                continue;
            }
            let value = match field.kind() {
                Kind::Message(filter) if is_filter => self.filter_by(&filter, &rules.example)?,
                Kind::Message(inner) => self.example_of(&inner)?.map(Value::Object),
                Kind::Enum(codes) => self.first_code(&codes)?.map(Value::String),
                _ => example_value(&field, &rules),
            };
            let Some(value) = value else { return Ok(None) };
            let value = if field.is_list() { json!([value]) } else { value };
            whole.insert(field.json_name().to_owned(), value);
        }
        Ok(Some(whole))
    }

    /// The example of a filter that has one field.
    fn filter_by(&self, filter: &MessageDescriptor, name: &str) -> Result<Option<Value>, ContractError> {
        let Some(field) = filter.get_field_by_name(name) else { return Ok(None) };
        let value = example_value(&field, &self.options.field(&field)?);
        Ok(value.map(|value| json!({ field.json_name(): value })))
    }

    fn first_code(&self, codes: &EnumDescriptor) -> Result<Option<String>, ContractError> {
        for value in codes.values() {
            if let Some(rules) = self.options.code(&value)?.filter(|rules| !rules.code.is_empty()) {
                return Ok(Some(rules.code));
            }
        }
        Ok(None)
    }

    fn field(
        &mut self,
        field: &FieldDescriptor,
        rules: &FieldRules,
        direction: Direction,
    ) -> Result<Value, ContractError> {
        let mut description = self.description(field, rules);
        let mut one = match field.kind() {
            Kind::Message(message) => self.reference(&message, direction)?,
            Kind::Enum(codes) => self.codes(&codes, rules.required, direction, &mut description)?,
            Kind::String if rules.scale.is_some() => decimal(rules, direction, &mut description),
            Kind::String => text(rules, direction, &mut description),
            _ => integer(field, rules, direction, &mut description),
        };
        if field.is_list() {
            one = json!({ "type": "array", "items": one });
            if rules.max_rows > 0 {
                one["maxItems"] = rules.max_rows.into();
            }
        }
        if direction == Direction::Reply && is_optional(field) {
            push(&mut description, "Left out when not set.");
        }
        one["description"] = description.into();
        if let Some(example) = example(field, rules) {
            one["examples"] = json!([example]);
        }
        Ok(one)
    }

    /// The documented title of the field, and our comment.
    fn description(&self, field: &FieldDescriptor, rules: &FieldRules) -> String {
        let comment = self.comments.of_field(field);
        if rules.title.is_empty() { comment } else { format!("{}. {comment}", rules.title) }
    }

    fn codes(
        &self,
        codes: &EnumDescriptor,
        required: bool,
        direction: Direction,
        description: &mut String,
    ) -> Result<Value, ContractError> {
        let mut taken = Vec::new();
        let mut table = Vec::new();
        for value in codes.values() {
            let Some(rules) = self.options.code(&value)?.filter(|rules| !rules.code.is_empty()) else { continue };
            let mut line = format!("`{}` {}", rules.code, rules.title);
            taken.push(rules.code);
            if direction != Direction::Reply && !rules.alias.is_empty() {
                line.push_str(&format!(" (also `{}`)", rules.alias.join("`, `")));
                taken.extend(rules.alias);
            }
            table.push(line);
        }
        if direction == Direction::Reply || !required {
            // A code that is not set is an empty text, in a request too.
            taken.push(String::new());
        }
        push(description, &format!("Codes: {}.", table.join(", ")));
        Ok(json!({ "type": types("string", direction), "enum": taken }))
    }
}

fn text(rules: &FieldRules, direction: Direction, description: &mut String) -> Value {
    let mut schema = json!({ "type": types("string", direction) });
    if rules.length > 0 {
        schema["maxLength"] = rules.length.into();
    }
    match rules.format() {
        Format::DateOrTime => push(description, "yyyy-MM-dd or yyyy-MM-dd HH:mm:ss."),
        Format::Digits => schema["pattern"] = "^[0-9]*$".into(),
        Format::Identifier => schema["pattern"] = "^[!-~]*$".into(),
        Format::Name => push(description, "On one line, without invisible characters; not blank."),
        Format::Phone => schema["pattern"] = r"^(\+?[0-9]{5,})?$".into(),
        Format::Region => schema["pattern"] = "^([0-9]{12})?$".into(),
        _ => {}
    }
    schema
}

fn decimal(rules: &FieldRules, direction: Direction, description: &mut String) -> Value {
    let scale = rules.scale.unwrap_or_default();
    let digits = if rules.length > 0 { format!(" of {} digits", rules.length) } else { String::new() };
    push(description, &format!("A decimal{digits}, {scale} after the point; never a binary fraction."));
    let mut schema = json!({ "type": types("number", direction) });
    bounds(&mut schema, rules, description);
    schema
}

fn integer(field: &FieldDescriptor, rules: &FieldRules, direction: Direction, description: &mut String) -> Value {
    let format = if field.kind() == Kind::Int64 { "int64" } else { "int32" };
    let mut schema = json!({ "type": types("integer", direction), "format": format });
    match rules.format() {
        Format::DateNumber => push(description, "yyyyMMdd."),
        Format::MonthNumber => push(description, "yyyyMM."),
        _ if rules.length > 0 => push(description, &format!("At most {} digits.", rules.length)),
        _ => {}
    }
    bounds(&mut schema, rules, description);
    schema
}

/// Adds bounds. A whole bound goes into the schema; another one would pass through a float and goes into the description.
fn bounds(schema: &mut Value, rules: &FieldRules, description: &mut String) {
    for (key, label, bound) in [("minimum", "At least", &rules.minimum), ("maximum", "At most", &rules.maximum)] {
        match bound.parse::<i64>() {
            Ok(bound) => schema[key] = bound.into(),
            Err(_) if bound.is_empty() => {}
            Err(_) => push(description, &format!("{label} {bound}.")),
        }
    }
}

/// HC accepts numbers as strings and strings as numbers. Tools do not fill in a parameter of several types.
fn types(documented: &str, direction: Direction) -> Value {
    match (direction, documented) {
        (Direction::Request(Dialect::Hc), "string") => json!(["string", "number"]),
        (Direction::Request(Dialect::Hc), number) => json!([number, "string"]),
        _ => documented.into(),
    }
}

fn example(field: &FieldDescriptor, rules: &FieldRules) -> Option<Value> {
    let has_none = field.is_list() || matches!(field.kind(), Kind::Message(_));
    if has_none { None } else { example_value(field, rules) }
}

/// The example of a value of the field, or of one of its values.
fn example_value(field: &FieldDescriptor, rules: &FieldRules) -> Option<Value> {
    if rules.example.is_empty() {
        return None;
    }
    let text = rules.example.as_str();
    let is_number = rules.scale.is_some() || matches!(field.kind(), Kind::Int32 | Kind::Int64);
    // A number that is not whole stays a text, so that no float is involved.
    Some(text.parse::<i64>().ok().filter(|_| is_number).map_or_else(|| text.into(), Value::from))
}

fn push(description: &mut String, sentence: &str) {
    if !description.is_empty() {
        description.push(' ');
    }
    description.push_str(sentence);
}

fn is_optional(field: &FieldDescriptor) -> bool {
    field.containing_oneof().is_some_and(|oneof| oneof.is_synthetic())
}

/// The fields in documented order.
fn declared(message: &MessageDescriptor) -> Vec<FieldDescriptor> {
    let proto = message.descriptor_proto();
    proto.field.iter().filter_map(|field| message.get_field_by_name(field.name())).collect()
}
