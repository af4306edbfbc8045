//! Completes the compiled descriptors with what a source file leaves out, because it is said
//! in one place for all: the entry of a field in the dictionary of its package, the number as
//! an enum value's code, the routes of a service, the comment of a request or reply.
//!
//! Everything downstream (checks, gateway, OpenAPI, reflection) reads complete descriptors and
//! knows nothing of this.

use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, MessageDescriptor,
    ServiceDescriptor, Value,
};

use crate::Outcome;
use crate::dictionary::{self, Dictionary};

/// Returns the complete descriptors.
///
/// # Errors
/// A field disagrees with the dictionary, or something has no comment.
pub(crate) fn complete(compiled: &[u8]) -> Outcome<Vec<u8>> {
    let pool = DescriptorPool::decode(compiled)?;
    let find = |name: &str| {
        pool.get_extension_by_name(&format!("communal.contract.v1.{name}")).ok_or(format!("no extension {name}"))
    };
    let completion = Completion {
        dictionary: Dictionary::read(&pool, &find("field")?),
        required: find("required")?,
        code: find("code")?,
        route: find("route")?,
        routes: find("routes")?,
    };
    let set = pool.get_message_by_name("google.protobuf.FileDescriptorSet").ok_or("no descriptor of descriptors")?;
    let mut set = DynamicMessage::decode(set, compiled)?;
    let files = list(&mut set, "file");
    // A dictionary is no message that anybody sends.
    files.retain(|file| !file.as_message().is_some_and(|file| text(file, "name").ends_with(dictionary::FILE)));
    for file in files.iter_mut().filter_map(Value::as_message_mut) {
        let described = pool.get_file_by_name(&text(file, "name")).ok_or("a file without a descriptor")?;
        if !described.package_name().starts_with("communal.") {
            continue;
        }
        let mut comments = Comments::take(file);
        for (described, message) in described.messages().zip(children(file, "message_type")) {
            completion.message(&described, message, &mut comments)?;
        }
        for (described, codes) in described.enums().zip(children(file, "enum_type")) {
            completion.codes(&described, codes);
        }
        for (described, service) in described.services().zip(children(file, "service")) {
            completion.service(&described, service);
        }
        comments.give_back(file);
    }
    Ok(set.encode_to_vec())
}

struct Completion {
    dictionary: Dictionary,
    required: ExtensionDescriptor,
    code: ExtensionDescriptor,
    route: ExtensionDescriptor,
    routes: ExtensionDescriptor,
}

impl Completion {
    fn message(
        &self,
        described: &MessageDescriptor,
        message: &mut DynamicMessage,
        comments: &mut Comments,
    ) -> Outcome<()> {
        let side = |suffix: &str, side: &str| {
            described.name().strip_suffix(suffix).map(|method| format!("{side} of {method}."))
        };
        let default = side("Request", "The request").or_else(|| side("Response", "The reply"));
        comments.default(described.path(), default, described.full_name())?;
        let options = described.options();
        let all_required = options.get_extension(&self.required).as_bool().unwrap_or_default();
        for field in children(message, "field") {
            let described = &described.get_field_by_name(&text(field, "name")).ok_or("a field without a descriptor")?;
            let entry = self.dictionary.entry(described)?;
            if entry.is_some() || all_required {
                let rules = child(field, "options").get_extension_mut(&self.dictionary.field);
                let own = rules.as_message_mut().ok_or("field rules that are no message")?;
                if let Some(entry) = entry {
                    *own = entry.merged(described, own)?;
                }
                if all_required {
                    require(described, own)?;
                }
            }
            comments.default(described.path(), entry.map(|e| e.comment.clone()), described.full_name())?;
        }
        Ok(())
    }

    fn codes(&self, described: &EnumDescriptor, codes: &mut DynamicMessage) {
        for value in children(codes, "value") {
            let Some(described) = described.get_value_by_name(&text(value, "name")) else { continue };
            if !described.options().has_extension(&self.code) {
                continue;
            }
            let rules = child(value, "options").get_extension_mut(&self.code);
            if let Some(rules) = rules.as_message_mut()
                && text(rules, "code").is_empty()
            {
                rules.set_field_by_name("code", Value::String(described.number().to_string()));
            }
        }
    }

    fn service(&self, described: &ServiceDescriptor, service: &mut DynamicMessage) {
        let options = described.options();
        if !options.has_extension(&self.routes) {
            return;
        }
        let routes = options.get_extension(&self.routes);
        let Some(routes) = routes.as_message() else { return };
        for (described, method) in described.methods().zip(children(service, "method")) {
            if !described.options().has_extension(&self.route) {
                continue;
            }
            let route = child(method, "options").get_extension_mut(&self.route);
            let Some(own) = route.as_message_mut() else { continue };
            let mut merged = routes.clone();
            let path = text(routes, "path").replace("{method}", described.name());
            merged.set_field_by_name("path", Value::String(path));
            overlay(&mut merged, own);
            *own = merged;
        }
    }
}

/// The comments of a file, by the path of what they are about.
struct Comments(Vec<Value>);

impl Comments {
    fn take(file: &mut DynamicMessage) -> Self {
        Self(std::mem::take(list(child(file, "source_code_info"), "location")))
    }

    fn give_back(self, file: &mut DynamicMessage) {
        *list(child(file, "source_code_info"), "location") = self.0;
    }

    /// Gives the element at `path` a comment if it has none.
    fn default(&mut self, path: &[i32], comment: Option<String>, name: &str) -> Outcome<()> {
        let path: Vec<_> = path.iter().map(|step| Value::I32(*step)).collect();
        let here = |location: &&mut DynamicMessage| {
            location.get_field_by_name("path").is_some_and(|p| p.as_list() == Some(&path))
        };
        let location = self.0.iter_mut().filter_map(Value::as_message_mut).find(here).ok_or("no source location")?;
        if !text(location, "leading_comments").trim().is_empty() {
            return Ok(());
        }
        let comment = comment.ok_or_else(|| format!("{name} has no comment"))?;
        location.set_field_by_name("leading_comments", Value::String(format!(" {comment}\n")));
        Ok(())
    }
}

fn require(field: &FieldDescriptor, rules: &mut DynamicMessage) -> Outcome<()> {
    if rules.has_field_by_name("required") {
        return Err(format!("{} is required as every field of its message; do not repeat it", field.full_name()).into());
    }
    rules.set_field_by_name("required", Value::Bool(true));
    Ok(())
}

/// Sets in `base` what `own` says.
pub(crate) fn overlay(base: &mut DynamicMessage, own: &DynamicMessage) {
    for (field, value) in own.fields() {
        base.set_field(&field, value.clone());
    }
}

fn child<'a>(parent: &'a mut DynamicMessage, name: &str) -> &'a mut DynamicMessage {
    #[allow(clippy::expect_used)] // The descriptor of descriptors has it.
    parent.get_field_by_name_mut(name).and_then(Value::as_message_mut).expect(name)
}

fn list<'a>(parent: &'a mut DynamicMessage, name: &str) -> &'a mut Vec<Value> {
    #[allow(clippy::expect_used)] // The descriptor of descriptors has it.
    parent.get_field_by_name_mut(name).and_then(Value::as_list_mut).expect(name)
}

fn children<'a>(parent: &'a mut DynamicMessage, name: &str) -> impl Iterator<Item = &'a mut DynamicMessage> {
    list(parent, name).iter_mut().filter_map(Value::as_message_mut)
}

fn text(message: &DynamicMessage, name: &str) -> String {
    message.get_field_by_name(name).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
