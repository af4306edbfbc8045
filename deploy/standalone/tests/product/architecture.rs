//! The invariants of docs/ARCHITECTURE.md that reading the sources can hold.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn sources(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

/// The lines that are neither comments nor below the unit tests of a file.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[cfg(test)]").next().unwrap_or_default().lines().map(str::trim).filter(|l| !l.starts_with("//"))
}

fn dependencies(krate: &str) -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(root().join(krate).join("Cargo.toml")).unwrap();
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| name.starts_with("communal-")).map(str::to_owned).collect()
}

#[test]
fn crates_depend_on_what_the_map_allows() {
    let kit_and_proto = BTreeSet::from(["communal-kit".to_owned(), "communal-proto".to_owned()]);
    for krate in ["services/billing", "services/community", "gateway"] {
        assert_eq!(dependencies(krate), kit_and_proto, "{krate}");
    }
    assert_eq!(dependencies("services/kit"), BTreeSet::from(["communal-proto".to_owned()]));
    assert_eq!(dependencies("proto"), BTreeSet::new());
}

#[test]
fn rules_do_no_io() {
    const RULES: [&str; 10] = [
        "services/billing/src/vocabulary/",
        "services/billing/src/rating/",
        "services/billing/src/packages/lifecycle.rs",
        "services/billing/src/packages/prices/matrix.rs",
        "services/billing/src/packages/prices/change.rs",
        "services/billing/src/receivables/line.rs",
        "services/billing/src/replicas/staleness.rs",
        "services/community/src/amounts/",
        "services/community/src/fee_items/rules.rs",
        "services/kit/src/money.rs",
    ];
    let all: Vec<_> = ["services/billing/src", "services/community/src", "services/kit/src"].map(sources).concat();
    for rule in RULES {
        let files: Vec<_> = all.iter().filter(|(name, _)| name.starts_with(rule)).collect();
        assert!(!files.is_empty(), "{rule} does not exist");
        for (name, text) in files {
            for line in code(text) {
                for library in ["tonic", "sqlx", "tokio"] {
                    let uses = line.contains(&format!("{library}::")) || line.contains(&format!("use {library}"));
                    assert!(!uses, "{name} uses {library}: {line}");
                }
            }
        }
    }
}

#[test]
fn the_kit_has_no_business_word() {
    const WORDS: [&str; 7] = ["tariff", "package_id", "receivable", "arrears", "feeconfig", "fee_item", "meter"];
    for (name, text) in sources("services/kit/src") {
        for line in code(&text) {
            // CARGO_PKG_… and the like are not ours.
            let line = line.to_lowercase();
            for word in WORDS {
                let used = line.contains(word) && !line.contains("parameter");
                assert!(!used, "{name} says {word}: {line}");
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
    assert!(names.len() >= 17);
    for (name, text) in sources("gateway/src").iter().filter(|(name, _)| !name.contains("test")) {
        for line in code(text) {
            for interface in &names {
                assert!(!line.contains(interface.as_str()), "{name} names {interface}: {line}");
            }
        }
    }
}

#[test]
fn no_source_says_todo_or_panics_on_purpose() {
    for folder in ["proto/src", "services/kit/src", "services/billing/src", "services/community/src", "gateway/src"] {
        for (name, text) in sources(folder).iter().filter(|(name, _)| !name.contains("test")) {
            for line in code(text) {
                for word in ["TODO", "FIXME", "unimplemented!(", "todo!("] {
                    assert!(!line.contains(word), "{name}: {line}");
                }
            }
        }
    }
}

#[test]
fn every_reason_is_in_the_list_of_reasons() {
    let listed = std::fs::read_to_string(root().join("docs/reasons.md")).expect("docs/reasons.md");
    let mut expected = String::new();
    for (service, file) in [
        ("every service", "proto/communal/contract/v1/contract.proto"),
        ("billing", "proto/communal/billing/v1/reasons.proto"),
        ("community", "proto/communal/community/v1/reasons.proto"),
    ] {
        let text = std::fs::read_to_string(root().join(file)).unwrap();
        let body = text.split("enum Reason {").nth(1).unwrap().split("\n}").next().unwrap();
        let mut comment = String::new();
        for line in body.lines().map(str::trim) {
            if let Some(words) = line.strip_prefix("// ") {
                comment = words.to_owned();
            } else if let Some(rest) = line.strip_prefix("REASON_") {
                let name = rest.split(' ').next().unwrap();
                if name != "UNSPECIFIED" {
                    expected.push_str(&format!("| `{name}` | {service} | {comment} |\n"));
                }
            }
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let head = listed.split("| --- | --- | --- |\n").next().unwrap();
        std::fs::write(root().join("docs/reasons.md"), format!("{head}| --- | --- | --- |\n{expected}")).unwrap();
        return;
    }
    assert!(listed.ends_with(&expected), "docs/reasons.md is not what the .proto says; run with UPDATE_EXPECT=1");
}
