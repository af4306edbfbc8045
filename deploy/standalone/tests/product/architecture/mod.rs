//! The shape of the sources, as docs/ARCHITECTURE.md states it: which crate depends on which, which module may import
//! which, which files do no I/O, and which words stand nowhere.
//!
//! [`sources`] reads a crate, [`paths`] finds what it names, [`purity`] and [`imports`] judge; each has tests of its own
//! on made-up sources.

mod imports;
mod paths;
mod purity;
pub(crate) mod sources;

use std::collections::{BTreeMap, BTreeSet};

use imports::{Imports, Table, uses_of_rpc};
use purity::{asks_the_machine, impurities};
use sources::{root, sources, top_level_modules};

/// The crates that are deployed, by folder.
const SHIPPED: [&str; 6] =
    ["proto", "services/kit", "services/billing", "services/community", "gateway", "deploy/standalone"];
/// The crates that only developers run.
const TOOLS: [&str; 3] = ["services/fixtures", "deploy/chaos", "bench"];
/// The services, by name and folder.
const SERVICES: [(&str, &str); 2] = [("billing", "services/billing"), ("community", "services/community")];

/// The files and folders of a service that do I/O.
const IMPURE_IN_A_SERVICE: [&str; 8] = ["rpc", "store", "import", "watch", "seed", "config", "cli", "main"];
/// The files and folders of the kit that do I/O.
const IMPURE_IN_THE_KIT: &[&str] = &[
    "administration",
    "authenticator",
    "cli",
    "database",
    "delivery",
    "edge",
    "idempotency",
    "pool",
    "portions",
    "progress",
    "refusal",
    "replicas",
    "request",
    "server",
    "store",
    "telemetry",
    "uploads",
    "vouching",
    "write",
];

/// The name of a crate's library in paths.
fn library(krate: &str) -> String {
    let manifest = manifest(krate);
    manifest["package"]["name"].as_str().unwrap().replace('-', "_")
}

fn manifest(krate: &str) -> toml::Value {
    let text = std::fs::read_to_string(root().join(krate).join("Cargo.toml")).unwrap();
    toml::from_str(&text).unwrap()
}

/// The crates of this workspace that a crate's manifest names in a section.
fn dependencies(krate: &str, section: &str) -> BTreeSet<String> {
    let manifest = manifest(krate);
    let table = manifest.get(section).and_then(toml::Value::as_table);
    let names = table.into_iter().flat_map(|table| table.keys());
    names.filter(|name| name.starts_with("communal-")).cloned().collect()
}

#[test]
fn crates_depend_on_what_the_map_allows() {
    let kit_and_proto = BTreeSet::from(["communal-kit".to_owned(), "communal-proto".to_owned()]);
    for krate in ["services/billing", "services/community", "gateway"] {
        assert_eq!(dependencies(krate, "dependencies"), kit_and_proto, "{krate}");
    }
    assert_eq!(dependencies("services/kit", "dependencies"), BTreeSet::from(["communal-proto".to_owned()]));
    assert_eq!(dependencies("proto", "dependencies"), BTreeSet::new());
    let tools: BTreeSet<String> =
        TOOLS.iter().map(|tool| manifest(tool)["package"]["name"].as_str().unwrap().to_owned()).collect();
    for krate in SHIPPED {
        for section in ["dependencies", "build-dependencies"] {
            assert!(dependencies(krate, section).is_disjoint(&tools), "{krate} ships a crate of tests");
        }
    }
}

#[test]
fn a_file_does_no_io_unless_its_name_says_so() {
    let services = SERVICES.iter().map(|(_, krate)| (*krate, IMPURE_IN_A_SERVICE.as_slice()));
    let mut found = Vec::new();
    for (krate, impure) in services.chain([("services/kit", IMPURE_IN_THE_KIT)]) {
        found.extend(sources(krate).iter().flat_map(|source| impurities(source, impure)));
    }
    for (_, krate) in &SERVICES {
        found.extend(sources(krate).iter().flat_map(|source| asks_the_machine(source, &IMPURE_IN_A_SERVICE)));
    }
    let kit = sources("services/kit");
    let exists = |name: &&str| kit.iter().any(|source| source.module.iter().any(|part| part == name));
    assert!(IMPURE_IN_THE_KIT.iter().all(exists), "the list names a file that the kit does not have");
    assert!(found.is_empty(), "pure files that do I/O:\n{}", found.join("\n"));
}

#[test]
fn no_crate_has_a_circle_of_modules() {
    let circles: BTreeMap<_, _> = SHIPPED
        .iter()
        .chain(&TOOLS)
        .filter_map(|krate| {
            let circle = Imports::of(&sources(krate), &library(krate));
            circle.circle().map(|places| (*krate, places.join("\n  ")))
        })
        .collect();
    let told: Vec<_> = circles.iter().map(|(krate, places)| format!("{krate}:\n  {places}")).collect();
    assert!(told.is_empty(), "circles of modules:\n{}", told.join("\n"));
}

#[test]
fn a_module_imports_what_the_table_of_the_architecture_allows() {
    let document = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let mut found = Vec::new();
    for (name, krate) in SERVICES.into_iter().chain([("kit", "services/kit"), ("gateway", "gateway")]) {
        let table = Table::read(&document, name).unwrap_or_else(|error| panic!("docs/ARCHITECTURE.md: {error}"));
        let (sources, library) = (sources(krate), library(krate));
        let missing = table.missing(&top_level_modules(&sources));
        found.extend(missing.iter().filter(|module| *module != "main").map(|m| format!("{krate}: no row for {m}")));
        found.extend(
            Imports::of(&sources, &library).violations(&table).into_iter().filter(|v| !v.contains("module main")),
        );
        found.extend(uses_of_rpc(&sources, &library));
    }
    assert!(found.is_empty(), "imports that docs/ARCHITECTURE.md does not allow:\n{}", found.join("\n"));
}

/// The names in backticks of a document that look like paths, with their braces expanded.
fn paths_named(document: &str) -> Vec<String> {
    let spans = document.split('`').skip(1).step_by(2);
    let named = spans.filter(|span| span.contains('/') && [".rs", ".proto", "/"].iter().any(|end| span.ends_with(end)));
    let named = named.filter(|span| span.chars().all(|c| c.is_ascii_alphanumeric() || "/_-.,{}".contains(c)));
    let expanded = named.flat_map(|span| match span.split_once('{').zip(span.split_once('}')) {
        Some(((before, _), (choices, after))) => {
            let choices = choices.trim_start_matches(before).trim_start_matches('{');
            choices.split(',').map(|choice| format!("{before}{choice}{after}")).collect()
        }
        None => vec![span.to_owned()],
    });
    expanded.collect()
}

#[test]
fn the_files_that_the_architecture_names_exist() {
    let document = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    // Files of every noun, every crate and every service.
    let templates = [
        "vocabulary/",
        "store/",
        "rating/",
        "amounts/",
        "seed/",
        "migrations/",
        "harness/",
        "tests/it/",
        "tests/it/harness/",
    ];
    let exists = |path: &String| {
        ["", "services", "proto/communal", "deploy/standalone/tests/product"]
            .iter()
            .any(|at| root().join(at).join(path).exists())
    };
    let named = paths_named(&document);
    assert!(named.len() > 40, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|path| !exists(path) && !templates.contains(&path.as_str())).collect();
    assert!(missing.is_empty(), "docs/ARCHITECTURE.md names files that do not exist: {missing:?}");
}

#[test]
fn the_excerpts_of_the_documents_stand_in_the_sources() {
    let document = std::fs::read_to_string(root().join("docs/adding-an-interface.md")).unwrap();
    let excerpts: Vec<_> = document.split("<!-- from: ").skip(1).collect();
    assert!(!excerpts.is_empty());
    for part in excerpts {
        let (path, rest) = part.split_once(" -->\n```").unwrap();
        let (excerpt, _) = rest.split_once('\n').and_then(|(_, code)| code.split_once("\n```")).unwrap();
        let source = std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(source.contains(excerpt), "{path} is not as docs/adding-an-interface.md shows it:\n{excerpt}");
    }
}

#[test]
fn the_kit_has_no_business_word() {
    const WORDS: [&str; 7] = ["tariff", "package_id", "receivable", "arrears", "feeconfig", "fee_item", "meter"];
    for source in sources("services/kit") {
        for line in source.code_lines() {
            let line = line.to_lowercase();
            for word in WORDS {
                // "parameter" has a meter in it.
                let used = line.contains(word) && !line.contains("parameter");
                assert!(!used, "{} says {word}: {line}", source.path);
            }
        }
    }
}

#[test]
fn the_gateway_knows_no_interface_by_name() {
    let mut names = BTreeSet::new();
    for folder in ["epeis", "hc"] {
        for entry in std::fs::read_dir(root().join("proto/contracts").join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            names.insert(name.trim_end_matches(".json").to_owned());
        }
    }
    assert!(!names.is_empty());
    for source in sources("gateway") {
        for line in source.code_lines() {
            for interface in &names {
                assert!(!line.contains(interface.as_str()), "{} names {interface}: {line}", source.path);
            }
        }
    }
}

#[test]
fn no_source_says_todo_or_panics_on_purpose() {
    for source in SHIPPED.iter().flat_map(|krate| sources(krate)) {
        for line in source.code_lines() {
            for word in ["TODO", "FIXME", "unimplemented!(", "todo!("] {
                assert!(!line.contains(word), "{}: {line}", source.path);
            }
        }
    }
}
