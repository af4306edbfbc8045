//! Compiles the contract: messages and services by prost and tonic, the descriptor set
//! with our options and the comments, and from the options the field checks and the code
//! tables.
//!
//! `protox` stands in for protoc, so nobody needs to install it. Two descriptor sets are
//! made on purpose: prost-types drops unknown options, so the embedded one is the bytes as
//! compiled, and the one for code generation is adapted (see [`hold_rows_encoded`]).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    ReflectMessage, Value,
};
use prost_types::FileDescriptorSet;
use prost_types::field_descriptor_proto::Type;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut files = Vec::new();
    find_proto_files(Path::new("communal"), &mut files)?;
    files.sort();
    println!("cargo::rerun-if-changed=communal");

    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&files)?;
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(out.join("contract.bin"), &encoded)?;

    let pool = DescriptorPool::decode(encoded.as_slice())?;
    let options = Options::new(&pool)?;

    let mut set = compiler.file_descriptor_set();
    hold_rows_encoded(&mut set, &pool, &options);
    let mut config = tonic_prost_build::Config::new();
    config.bytes(["."]);
    tonic_prost_build::configure()
        .build_transport(true)
        .compile_well_known_types(false)
        .compile_fds_with_config(set, config)?;

    let mut generated = String::new();
    for message in pool.all_messages().filter(is_ours) {
        write_checks(&mut generated, &message, &options)?;
    }
    for codes in pool.all_enums().filter(|e| e.package_name().starts_with("communal.")) {
        write_codes(&mut generated, &codes, &options)?;
    }
    fs::write(out.join("generated.rs"), generated)?;
    Ok(())
}

fn find_proto_files(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_proto_files(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

fn is_ours(message: &MessageDescriptor) -> bool {
    message.package_name().starts_with("communal.") && message.package_name() != "communal.contract.v1"
}

/// Fields marked `encoded` become `bytes` in Rust: the wire form of a message field and
/// of a bytes field are the same, and rows that are stored encoded are never decoded.
fn hold_rows_encoded(set: &mut FileDescriptorSet, pool: &DescriptorPool, options: &Options) {
    for file in &mut set.file {
        let package = file.package().to_owned();
        for message in &mut file.message_type {
            let name = format!("{package}.{}", message.name());
            let Some(descriptor) = pool.get_message_by_name(&name) else { continue };
            for field in &mut message.field {
                let described = descriptor.get_field_by_name(field.name());
                if described.is_some_and(|d| options.rules(&d).encoded) {
                    field.set_type(Type::Bytes);
                    field.type_name = None;
                }
            }
        }
    }
}

/// Our extensions of the descriptors.
struct Options {
    field: ExtensionDescriptor,
    code: ExtensionDescriptor,
}

#[derive(Default)]
struct Rules {
    title: String,
    required: bool,
    length: u64,
    scale: Option<u64>,
    minimum: String,
    maximum: String,
    max_rows: u64,
    format: String,
    missing_text: String,
    encoded: bool,
}

impl Options {
    fn new(pool: &DescriptorPool) -> Outcome<Self> {
        let find = |name: &str| {
            pool.get_extension_by_name(&format!("communal.contract.v1.{name}")).ok_or(format!("no extension {name}"))
        };
        Ok(Self { field: find("field")?, code: find("code")? })
    }

    fn rules(&self, field: &FieldDescriptor) -> Rules {
        let options = field.options();
        if !options.has_extension(&self.field) {
            return Rules::default();
        }
        let value = options.get_extension(&self.field);
        let Some(rules) = value.as_message() else { return Rules::default() };
        Rules {
            title: text(rules, "title"),
            required: flag(rules, "required"),
            length: number(rules, "length"),
            scale: rules.has_field_by_name("scale").then(|| number(rules, "scale")),
            minimum: text(rules, "minimum"),
            maximum: text(rules, "maximum"),
            max_rows: number(rules, "max_rows"),
            format: format_name(rules),
            missing_text: text(rules, "missing_text"),
            encoded: flag(rules, "encoded"),
        }
    }

    fn code(&self, value: &prost_reflect::EnumValueDescriptor) -> Option<(String, Vec<String>, String)> {
        let options = value.options();
        if !options.has_extension(&self.code) {
            return None;
        }
        let extension = options.get_extension(&self.code);
        let rules = extension.as_message()?;
        let alias = rules.get_field_by_name("alias")?;
        let alias = alias.as_list()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Some((text(rules, "code"), alias, text(rules, "title")))
    }
}

fn text(message: &DynamicMessage, name: &str) -> String {
    message.get_field_by_name(name).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn flag(message: &DynamicMessage, name: &str) -> bool {
    message.get_field_by_name(name).and_then(|v| v.as_bool()).unwrap_or_default()
}

fn number(message: &DynamicMessage, name: &str) -> u64 {
    message.get_field_by_name(name).and_then(|v| v.as_u32()).unwrap_or_default().into()
}

/// `FORMAT_DATE_NUMBER` → `DateNumber`, the variant of `rules::Format`.
fn format_name(rules: &DynamicMessage) -> String {
    let number = rules.get_field_by_name("format").and_then(|v| v.as_enum_number()).unwrap_or_default();
    let descriptor = rules.descriptor().get_field_by_name("format");
    let Some(Kind::Enum(formats)) = descriptor.map(|f| f.kind()) else { return "Any".into() };
    match formats.get_value(number) {
        Some(value) if number != 0 => camel(value.name().trim_start_matches("FORMAT_")),
        _ => "Any".into(),
    }
}

fn camel(name: &str) -> String {
    name.split('_')
        .flat_map(|word| {
            let mut letters = word.chars();
            let first = letters.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(letters.map(|c| c.to_ascii_lowercase()).collect::<Vec<_>>())
        })
        .collect()
}

/// Enum value names in prost: the prefix of the enum's own name is cut off.
fn variant(codes: &EnumDescriptor, value: &str) -> String {
    let full = camel(value);
    let cut = full.strip_prefix(&prost_name(codes.name())).unwrap_or(&full).to_owned();
    if cut.starts_with(|c: char| c.is_ascii_digit()) { full } else { cut }
}

/// Message and enum names already are CamelCase; this only equals what prost makes of runs of capitals.
fn prost_name(name: &str) -> String {
    let mut snake = String::new();
    let mut previous_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && previous_lower {
            snake.push('_');
        }
        previous_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        snake.push(c);
    }
    camel(&snake)
}

fn rust_path(package: &str, name: &str) -> String {
    format!("crate::{}::{}", package.trim_start_matches("communal.").replace('.', "::"), prost_name(name))
}

fn write_checks(out: &mut String, message: &MessageDescriptor, options: &Options) -> Outcome<()> {
    writeln!(out, "impl crate::Checked for {} {{", rust_path(message.package_name(), message.name()))?;
    let mut body = String::new();
    for field in message.fields() {
        let rules = options.rules(&field);
        if rules.title.is_empty() || rules.encoded {
            continue;
        }
        write_field_check(&mut body, &field, &rules)?;
    }
    let checker = if body.is_empty() { "_" } else { "checker" };
    writeln!(out, "    fn check(&self, {checker}: &mut crate::Checker) {{\n{body}    }}\n}}")?;
    Ok(())
}

fn write_field_check(out: &mut String, field: &FieldDescriptor, rules: &Rules) -> Outcome<()> {
    let name = field.name();
    write!(
        out,
        "        {{ const RULE: crate::Rule = crate::Rule {{ name: {:?}, title: {:?}, required: {}, length: {}, scale: {:?}, \
         minimum: {}, maximum: {}, max_rows: {}, format: crate::Format::{}, missing_text: {:?} }}; ",
        field.json_name(),
        rules.title,
        rules.required,
        rules.length,
        rules.scale.map(|s| s as u32),
        bound(&rules.minimum),
        bound(&rules.maximum),
        rules.max_rows,
        rules.format,
        rules.missing_text,
    )?;
    let call = match (field.kind(), field.is_list(), field.supports_presence()) {
        (Kind::Message(_), true, _) => format!("checker.rows(&RULE, &self.{name})"),
        (Kind::Message(_), false, _) => format!("checker.message(&RULE, self.{name}.as_ref())"),
        (Kind::String, true, _) => format!("checker.texts(&RULE, &self.{name})"),
        (Kind::String, false, _) if rules.scale.is_some() => format!("checker.decimal(&RULE, &self.{name})"),
        (Kind::String, false, true) => format!("checker.text(&RULE, self.{name}.as_deref().unwrap_or_default())"),
        (Kind::String, false, false) => format!("checker.text(&RULE, &self.{name})"),
        (Kind::Int32, false, false) => format!("checker.integer(&RULE, i64::from(self.{name}))"),
        (Kind::Int64, false, false) => format!("checker.integer(&RULE, self.{name})"),
        (Kind::Enum(codes), false, false) => {
            let path = rust_path(codes.package_name(), codes.name());
            format!("checker.code(&RULE, self.{name}, {path}::try_from(self.{name}).is_ok())")
        }
        (Kind::Bool, false, false) => String::new(),
        other => return Err(format!("no check for {}: {other:?}", field.full_name()).into()),
    };
    writeln!(out, "{call}; }}")?;
    Ok(())
}

fn bound(value: &str) -> String {
    if value.is_empty() { "None".into() } else { format!("Some({value:?})") }
}

fn write_codes(out: &mut String, codes: &EnumDescriptor, options: &Options) -> Outcome<()> {
    let values: Vec<_> = codes
        .values()
        .filter_map(|v| options.code(&v).map(|(code, alias, title)| (variant(codes, v.name()), code, alias, title)))
        .collect();
    if values.is_empty() {
        return Ok(());
    }
    writeln!(out, "impl crate::Coded for {} {{", rust_path(codes.package_name(), codes.name()))?;
    writeln!(out, "    fn code(self) -> &'static str {{ match self {{")?;
    for (name, code, ..) in &values {
        writeln!(out, "        Self::{name} => {code:?},")?;
    }
    writeln!(out, "        _ => \"\", }} }}\n    fn title(self) -> &'static str {{ match self {{")?;
    for (name, _, _, title) in &values {
        writeln!(out, "        Self::{name} => {title:?},")?;
    }
    writeln!(out, "        _ => \"\", }} }}\n    fn from_code(code: &str) -> Option<Self> {{ match code {{")?;
    for (name, code, alias, _) in &values {
        let spellings: Vec<_> = std::iter::once(code).chain(alias).map(|s| format!("{s:?}")).collect();
        writeln!(out, "        {} => Some(Self::{name}),", spellings.join(" | "))?;
    }
    writeln!(out, "        _ => None, }} }}\n}}")?;
    Ok(())
}
