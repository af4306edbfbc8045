//! The paths that a source names, as absolute paths in its crate or from another crate's name on.
//!
//! Every path counts, in a `use`, in an expression and in the arguments of a macro.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::sources::{Source, is_punct};

/// Returns every path of a source. A path within the crate begins with `crate`; `library` is the name by which the
/// crate's own binaries name its library.
pub(crate) fn paths(source: &Source, library: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    walk(&source.tokens, &source.module, library, &mut found);
    found
}

fn walk(tokens: &TokenStream, module: &[String], library: &str, found: &mut Vec<Vec<String>>) {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(_) if colons(&tokens, at + 1) => {
                let mut relative = Vec::new();
                at = path(&tokens, at, &[], &mut relative);
                found.extend(relative.into_iter().filter_map(|path| absolute(path, module, library)));
            }
            TokenTree::Group(group) => {
                walk(&group.stream(), module, library, found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Reads a path with its branches that begins at a token; returns the place after it.
fn path(tokens: &[TokenTree], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(ident)) => path.push(ident.to_string()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace && !path.is_empty() => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for branch in inner.split(|token| is_punct(token, ',')).filter(|branch| !branch.is_empty()) {
                    self::path(branch, 0, &path, found);
                }
                return at + 1;
            }
            // A glob, or a generic argument.
            _ => break,
        }
        at += 1;
        if !colons(tokens, at) {
            break;
        }
        at += 2;
    }
    found.push(path);
    at
}

fn colons(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at: usize| tokens.get(at).is_some_and(|token| is_punct(token, ':'));
    colon(at) && colon(at + 1)
}

/// Resolves `crate`, `self`, `super` and the library's name. Another name is a crate or, in the root, a module.
fn absolute(path: Vec<String>, module: &[String], library: &str) -> Option<Vec<String>> {
    let of_crate = |rest: &[String]| [&["crate".to_owned()], rest].concat();
    match path.first()?.as_str() {
        "crate" => Some(path),
        "self" => Some(of_crate(&[module, &path[1..]].concat())),
        "super" => {
            let ups = path.iter().take_while(|word| *word == "super").count();
            let parent = module.get(..module.len().checked_sub(ups)?)?;
            Some(of_crate(&[parent, &path[ups..]].concat()))
        }
        name if name == library => Some(of_crate(&path[1..])),
        _ => Some(path),
    }
}

#[cfg(test)]
fn found(within: &str, text: &str) -> Vec<String> {
    let (source, _) = Source::parse("x", within, text);
    paths(&source, "communal_x").into_iter().map(|path| path.join("::")).collect()
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let text = r#"
        use crate::a::{self, b::{C, D}, e as f};
        use super::super::g::*;
        use super::h;
        pub use communal_x::i::J;
        fn k(x: crate::l::M) -> Option<super::n::O<crate::p::Q>> { format!("{}", self::r::s(crate::t::U)) }
    "#;
    assert_eq!(
        found("noun/store.rs", text),
        [
            "crate::a::self",
            "crate::a::b::C",
            "crate::a::b::D",
            "crate::a::e",
            "crate::g",
            "crate::noun::h",
            "crate::i::J",
            "crate::l::M",
            "crate::noun::n::O",
            "crate::p::Q",
            "crate::noun::store::r::s",
            "crate::t::U",
        ]
    );
}

#[test]
fn other_crates_keep_their_names() {
    assert_eq!(
        found("a.rs", "use tonic::{Code, Status}; fn f() { tokio::spawn(g) }"),
        ["tonic::Code", "tonic::Status", "tokio::spawn"]
    );
}
