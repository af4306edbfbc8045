//! Pure files: they use no gRPC, no database and no runtime, unless their name says that they do.

use super::paths::paths;
use super::sources::Source;

/// The crates of gRPC, of the database and of the runtime.
const IO: [&str; 3] = ["tonic", "sqlx", "tokio"];
/// A value of one of these crates that does nothing.
const VALUES: [&str; 1] = ["tonic::Code"];

/// What a rule of a service may not ask the machine for: files, processes, sockets and settings, the time, chance.
const MACHINE: [&[&str]; 8] = [
    &["std", "fs"],
    &["std", "net"],
    &["std", "env"],
    &["std", "process"],
    &["SystemTime", "now"],
    &["Instant", "now"],
    &["Utc", "now"],
    &["rand"],
];

/// Returns whether neither the name of a file nor that of a folder above it is one of `impure`.
fn is_pure(source: &Source, impure: &[&str]) -> bool {
    !source.module.is_empty() && !source.module.iter().any(|name| impure.contains(&name.as_str()))
}

/// Returns what a source of a service asks the machine for, unless its name says that it does I/O.
pub(crate) fn asks_the_machine(source: &Source, impure: &[&str]) -> Vec<String> {
    if !is_pure(source, impure) {
        return Vec::new();
    }
    let asks = |path: &Vec<String>| MACHINE.iter().any(|asked| path.windows(asked.len()).any(|part| part == *asked));
    let used = paths(source, "").into_iter().filter(asks);
    used.map(|path| format!("{} uses {}", source.path, path.join("::"))).collect()
}

/// Returns what a source uses of these crates, unless the name of the file or of a folder above it is one of `impure`.
pub(crate) fn impurities(source: &Source, impure: &[&str]) -> Vec<String> {
    if !is_pure(source, impure) {
        return Vec::new();
    }
    let used = paths(source, "").into_iter().filter(|path| IO.contains(&path[0].as_str()));
    let used = used.map(|path| path.join("::")).filter(|path| !VALUES.iter().any(|value| path == value));
    used.map(|path| format!("{} uses {path}", source.path)).collect()
}

#[cfg(test)]
fn of(within: &str, text: &str) -> Vec<String> {
    impurities(&Source::parse(within, within, text).0, &["store", "seed"])
}

#[test]
fn a_rule_asks_the_machine_for_nothing() {
    let of = |within: &str, text: &str| asks_the_machine(&Source::parse(within, within, text).0, &["store", "seed"]);
    let text = "use std::fs; fn f() { chrono::Utc::now(); SystemTime::now(); std::fs::read(p); rand::random::<u8>(); }";
    assert_eq!(of("noun/rules.rs", text).len(), 5, "{:?}", of("noun/rules.rs", text));
    assert_eq!(of("noun/store.rs", text), [""; 0]);
    assert_eq!(
        of("noun/rules.rs", "use chrono::Utc; use std::collections::BTreeMap; fn f(now: DateTime<Utc>) {}"),
        [""; 0]
    );
}

#[test]
fn a_file_is_impure_only_if_its_name_says_so() {
    let text = "use sqlx::PgConnection; async fn f() { tokio::spawn(g) } const C: tonic::Code = tonic::Code::Ok;";
    assert_eq!(of("noun/rules.rs", text).len(), 3, "{:?}", of("noun/rules.rs", text));
    assert_eq!(of("noun/mod.rs", "use tonic::Status;"), ["noun/mod.rs uses tonic::Status"]);
    assert_eq!(of("noun/rules.rs", "use tonic::Code; use chrono::Utc; /// tokio::spawn\nfn f() {}"), [""; 0]);
    for allowed in ["noun/store.rs", "seed/lines.rs", "lib.rs"] {
        assert_eq!(of(allowed, text), [""; 0], "{allowed}");
    }
}
