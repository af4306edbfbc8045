//! Rust sources as tokens: without comments, without text literals that could look like code, and without test code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A source file of a crate.
pub(crate) struct Source {
    /// Its path in the workspace.
    pub(crate) path: String,
    /// Its module path in the crate: empty for `lib.rs`, `[main]` for `main.rs`, `[bin, x]` for `bin/x.rs`.
    pub(crate) module: Vec<String>,
    /// Its tokens, without items under `#[cfg(test)]`.
    pub(crate) tokens: TokenStream,
    /// Its lines, for rules about words.
    pub(crate) text: String,
}

impl Source {
    /// Reads a file; `within` is its path below the crate's `src`. Returns also the modules in other files that it
    /// declares under `#[cfg(test)]`.
    pub(crate) fn parse(path: &str, within: &str, text: &str) -> (Self, Vec<Vec<String>>) {
        let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut module: Vec<String> = within.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
            module.pop();
        }
        let mut tests = Vec::new();
        let tokens = without_tests(tokens, &mut tests);
        let tests = tests.into_iter().map(|name| [module.clone(), vec![name]].concat()).collect();
        (Self { path: path.to_owned(), module, tokens, text: text.to_owned() }, tests)
    }

    /// The module of the crate's top level that the file belongs to.
    pub(crate) fn top_level(&self) -> &str {
        match self.module.first() {
            Some(name) => name,
            None => "lib",
        }
    }

    /// The lines that are neither comments nor below the unit tests of the file.
    pub(crate) fn code_lines(&self) -> impl Iterator<Item = &str> {
        let code = self.text.split("#[cfg(test)]").next().unwrap_or_default();
        code.lines().map(str::trim).filter(|line| !line.starts_with("//"))
    }
}

/// Reads all sources of a crate except its test modules.
pub(crate) fn sources(krate: &str) -> Vec<Source> {
    let src = root().join(krate).join("src");
    let (mut found, mut tests) = (Vec::new(), Vec::new());
    let mut folders = vec![src.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let within = path.strip_prefix(&src).unwrap().display().to_string();
                let text = std::fs::read_to_string(&path).unwrap();
                let (source, declared) = Source::parse(&format!("{krate}/src/{within}"), &within, &text);
                found.push(source);
                tests.extend(declared);
            }
        }
    }
    found.retain(|source| !tests.iter().any(|test| source.module.starts_with(test)));
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty(), "{krate} has no sources");
    found
}

/// The names of the modules at the top level of a crate.
pub(crate) fn top_level_modules(sources: &[Source]) -> BTreeSet<&str> {
    sources.iter().map(Source::top_level).collect()
}

/// Leaves out every item under `#[cfg(test)]`, and notes the names of modules that such an item declares.
fn without_tests(tokens: TokenStream, tests: &mut Vec<String>) -> TokenStream {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut kept = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if is_punct(token, '#') && tokens.get(at + 1).is_some_and(is_cfg_test) {
            at += 2;
            let item = &tokens[at..];
            let end = item.iter().position(|t| is_punct(t, ';') || is_braces(t)).unwrap_or(item.len());
            let declaration = &item[..end];
            if let Some(place) = declaration.iter().position(|t| is_ident(t, "mod"))
                && let Some(TokenTree::Ident(name)) = declaration.get(place + 1)
                && item.get(end).is_some_and(|t| is_punct(t, ';'))
            {
                tests.push(name.to_string());
            }
            at += end + 1;
            continue;
        }
        kept.push(match token {
            TokenTree::Group(group) => {
                let inner = without_tests(group.stream(), tests);
                TokenTree::Group(proc_macro2::Group::new(group.delimiter(), inner))
            }
            other => other.clone(),
        });
        at += 1;
    }
    kept.into_iter().collect()
}

fn is_cfg_test(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.stream().to_string().replace(' ', "") == "cfg(test)")
}

fn is_braces(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// Returns whether a token is this character.
pub(crate) fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

/// Returns whether a token is this word.
pub(crate) fn is_ident(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

#[test]
fn test_code_and_comments_are_left_out() {
    let text = r#"
        //! use tokio::a;
        /// use tokio::b;
        const TEXT: &str = "use tokio::c;";
        #[cfg(test)]
        use tokio::d;
        mod inner {
            #[cfg(test)]
            mod tests { use tokio::e; }
        }
        #[cfg(test)]
        mod elsewhere;
        #[cfg(test)]
        #[path = "x.rs"]
        fn f() { tokio::g() }
        use chrono::Utc;
    "#;
    let (source, tests) = Source::parse("x/src/noun/mod.rs", "noun/mod.rs", text);
    let mut words = Vec::new();
    idents(source.tokens, &mut words);
    assert!(!words.contains(&"tokio".to_owned()), "{words:?}");
    assert!(words.contains(&"chrono".to_owned()), "{words:?}");
    assert_eq!(source.module, ["noun"]);
    assert_eq!(tests, [["noun", "elsewhere"]]);
}

#[cfg(test)]
fn idents(tokens: TokenStream, words: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => idents(group.stream(), words),
            TokenTree::Ident(ident) => words.push(ident.to_string()),
            _ => {}
        }
    }
}
