//! The modules of a crate and which of them uses which: circles, and the tables of allowed imports in
//! docs/ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::TokenTree;

use super::paths::paths;
use super::sources::{Source, is_ident, top_level_modules};

/// The imports between the modules at the top level of a crate, each with one place where it occurs.
///
/// Items of the crate's root belong to the module `lib`, or to `main` in a crate without a library.
#[derive(Debug, Default)]
pub(crate) struct Imports(BTreeMap<(String, String), String>);

impl Imports {
    /// Reads the imports of a crate whose library has this name.
    pub(crate) fn of(sources: &[Source], library: &str) -> Self {
        let modules = top_level_modules(sources);
        let root = if modules.contains("lib") { "lib" } else { "main" };
        let inline = inline_modules(sources);
        let mut imports = Self::default();
        for source in sources {
            let user = source.top_level();
            for path in paths(source, library) {
                let used = match (path[0].as_str(), path.get(1).map(String::as_str)) {
                    ("crate", Some(name)) if modules.contains(name) => name,
                    ("crate", Some(name)) if inline.contains(name) => continue,
                    ("crate", Some(_)) => root,
                    // The root names its modules without `crate`.
                    (name, Some(_)) if user == root && modules.contains(name) => name,
                    _ => continue,
                };
                if used != user {
                    let place = || format!("{} uses {}", source.path, path.join("::"));
                    imports.0.entry((user.to_owned(), used.to_owned())).or_insert_with(place);
                }
            }
        }
        imports
    }

    /// Returns a circle of modules, if there is one, with the places that make it.
    pub(crate) fn circle(&self) -> Option<Vec<&str>> {
        let mut done = BTreeSet::new();
        self.0.keys().find_map(|(module, _)| self.search(module, &mut Vec::new(), &mut done))
    }

    fn search<'s>(
        &'s self,
        module: &'s str,
        trail: &mut Vec<(&'s str, &'s str)>,
        done: &mut BTreeSet<&'s str>,
    ) -> Option<Vec<&'s str>> {
        if let Some(start) = trail.iter().position(|(name, _)| *name == module) {
            return Some(trail[start..].iter().map(|(_, place)| *place).collect());
        }
        if done.contains(module) {
            return None;
        }
        for ((_, used), place) in self.0.iter().filter(|((user, _), _)| user == module) {
            trail.push((module, place));
            let circle = self.search(used, trail, done);
            trail.pop();
            if circle.is_some() {
                return circle;
            }
        }
        done.insert(module);
        None
    }

    /// Returns every import that a table does not allow.
    pub(crate) fn violations(&self, table: &Table) -> Vec<String> {
        let mut violations = Vec::new();
        for ((user, used), place) in &self.0 {
            match table.0.iter().find(|(module, _)| module == user) {
                None => violations.push(format!("the module {user} is not in the table")),
                Some((_, allowed)) if allowed.contains(used) => {}
                Some(_) => violations.push(format!("{user} may not use {used}: {place}")),
            }
        }
        violations.dedup();
        violations
    }
}

/// The modules that a root declares with their content. They include generated code, which imports no module.
fn inline_modules(sources: &[Source]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for source in sources.iter().filter(|source| source.module.is_empty()) {
        let tokens: Vec<TokenTree> = source.tokens.clone().into_iter().collect();
        for window in tokens.windows(3) {
            if let [keyword, TokenTree::Ident(name), TokenTree::Group(_)] = window
                && is_ident(keyword, "mod")
            {
                names.insert(name.to_string());
            }
        }
    }
    names
}

/// Returns every use of another module's `rpc`; only the root may wire it.
pub(crate) fn uses_of_rpc(sources: &[Source], library: &str) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.top_level() != "lib") {
        for path in paths(source, library) {
            let other = path[0] == "crate" && path.get(1).is_some_and(|name| name != source.top_level());
            if other && path.iter().any(|name| name == "rpc") {
                found.push(format!("{} uses {}", source.path, path.join("::")));
            }
        }
    }
    found
}

/// A table of allowed imports: the modules in their order, with the modules that each may use.
#[derive(Debug)]
pub(crate) struct Table(Vec<(String, Vec<String>)>);

impl Table {
    /// Reads the table between `<!-- imports: NAME -->` and `<!-- /imports -->`.
    ///
    /// A module may use only modules of rows above its own, so that the table itself has no circle.
    pub(crate) fn read(document: &str, name: &str) -> Result<Self, String> {
        let begin = format!("<!-- imports: {name} -->");
        let text = document.split(&begin).nth(1).ok_or(format!("there is no {begin}"))?;
        let text = text.split("<!-- /imports -->").next().unwrap_or_default();
        let mut rows: Vec<(String, Vec<String>)> = Vec::new();
        for line in text.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [module, may_use, ..] = cells.as_slice() else { return Err(format!("no row: {line}")) };
            let module = module.trim_matches('`').to_owned();
            let above: Vec<String> = rows.iter().map(|(above, _)| above.clone()).collect();
            let allowed = if *may_use == "everything above" { above.clone() } else { names(may_use) };
            if let Some(unknown) = allowed.iter().find(|used| !above.contains(used)) {
                return Err(format!("{module} may use {unknown}, which is no row above it"));
            }
            if above.contains(&module) {
                return Err(format!("{module} stands twice"));
            }
            rows.push((module, allowed));
        }
        if rows.is_empty() { Err(format!("the table {name} is empty")) } else { Ok(Self(rows)) }
    }

    /// Returns the modules that stand in no row.
    pub(crate) fn missing(&self, modules: &BTreeSet<&str>) -> Vec<String> {
        let rows: BTreeSet<&str> = self.0.iter().map(|(module, _)| module.as_str()).collect();
        modules.difference(&rows).map(|module| (*module).to_owned()).collect()
    }
}

/// The names in backticks of a cell.
fn names(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
fn made_up(files: &[(&str, &str)]) -> Vec<Source> {
    files.iter().map(|(within, text)| Source::parse(within, within, text).0).collect()
}

#[test]
fn a_circle_is_reported_with_its_places() {
    let without =
        [("lib.rs", "mod a; mod b; use b::B;"), ("a.rs", ""), ("b/mod.rs", "mod c;"), ("b/c.rs", "use crate::a::A;")];
    assert_eq!(Imports::of(&made_up(&without), "x").circle(), None);
    let mut with = without;
    with[1].1 = "fn f() -> Vec<super::b::c::C> { vec![] }";
    let imports = Imports::of(&made_up(&with), "x");
    assert_eq!(imports.circle().unwrap(), ["a.rs uses crate::b::c::C", "b/c.rs uses crate::a::A"]);
    // Generated code in the root makes none, an item of the root does.
    let generated =
        [("lib.rs", "mod a; pub mod v1 { include!(\"v1.rs\"); } fn f() { a::g() }"), ("a.rs", "use crate::v1::M;")];
    assert_eq!(Imports::of(&made_up(&generated), "x").circle(), None);
    let root = [("lib.rs", "mod a; pub struct S; fn f() { a::g() }"), ("a.rs", "use crate::S;")];
    assert_eq!(Imports::of(&made_up(&root), "x").circle().unwrap(), ["a.rs uses crate::S", "lib.rs uses a::g"]);
}

#[cfg(test)]
const TABLE: &str = "\
<!-- imports: shop -->
| module | may use | what it holds |
| --- | --- | --- |
| `vocabulary` | | words |
| `orders` | `vocabulary` | orders |
| `bills` | `vocabulary`, `orders` | ° bills |
| `lib` | everything above | wiring |
<!-- /imports -->
";

#[test]
fn an_import_that_the_table_does_not_allow_is_reported() {
    let table = Table::read(TABLE, "shop").unwrap();
    let sources = made_up(&[
        ("lib.rs", "mod orders; fn f() { orders::rpc::serve() }"),
        ("vocabulary.rs", "use crate::orders::store::Order;"),
        ("orders/store.rs", "use crate::vocabulary::Day;"),
        ("parcels.rs", "use crate::orders::Order;"),
    ]);
    assert_eq!(
        Imports::of(&sources, "x").violations(&table),
        [
            "the module parcels is not in the table",
            "vocabulary may not use orders: vocabulary.rs uses crate::orders::store::Order",
        ]
    );
    assert_eq!(table.missing(&top_level_modules(&sources)), ["parcels"]);
}

#[test]
fn a_table_that_allows_a_circle_is_no_table() {
    let circular = TABLE.replace("| `orders` | `vocabulary` |", "| `orders` | `bills` |");
    assert_eq!(Table::read(&circular, "shop").unwrap_err(), "orders may use bills, which is no row above it");
    assert!(Table::read(TABLE, "market").is_err());
}

#[test]
fn another_modules_rpc_is_for_the_root_alone() {
    let text = "use crate::orders::rpc::OrderRpc;";
    let sources = made_up(&[("lib.rs", text), ("orders/store.rs", text), ("bills/rules.rs", text)]);
    assert_eq!(uses_of_rpc(&sources, "x"), ["bills/rules.rs uses crate::orders::rpc::OrderRpc"]);
}
