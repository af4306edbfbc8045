//! Captures the statements of a call from the server's log and turns them into a script for pgbench. So the limit always
//! belongs to the statements that the service runs at present.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, bail};
use serde::Deserialize;

/// A statement with its parameters as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// The text with `$1`, `$2` …
    pub text: String,
    /// Parameters; `None` is NULL.
    pub parameters: Vec<Option<String>>,
    /// The server's names of the parameters' types; empty until the server was asked.
    pub types: Vec<String>,
}

#[derive(Deserialize)]
struct Entry {
    dbname: Option<String>,
    message: Option<String>,
    detail: Option<String>,
}

/// Reads the statements that were executed in a database, in order, from lines of a `jsonlog`.
///
/// # Errors
/// Returns an error if parameters do not have the server's form.
pub fn statements(log: &str, database: &str) -> anyhow::Result<Vec<Statement>> {
    let mut statements = Vec::new();
    for line in log.lines() {
        let Ok(entry) = serde_json::from_str::<Entry>(line) else { continue };
        if entry.dbname.as_deref() != Some(database) {
            continue;
        }
        let message = entry.message.unwrap_or_default();
        let Some(text) = executed(&message) else { continue };
        let parameters = match entry.detail.as_deref().and_then(|d| d.split_once("arameters: ")) {
            Some((_, list)) => parameters(list)?,
            None => Vec::new(),
        };
        let text = text.trim().trim_end_matches(';').to_owned();
        statements.push(Statement { text, parameters, types: Vec::new() });
    }
    Ok(statements)
}

/// Reads `duration: 0.1 ms  execute name: SELECT …` or `duration: 0.1 ms  statement: BEGIN`.
fn executed(message: &str) -> Option<&str> {
    let (_, what) = message.strip_prefix("duration: ")?.split_once("ms  ")?;
    if let Some(text) = what.strip_prefix("statement: ") {
        return Some(text);
    }
    what.strip_prefix("execute ")?.split_once(": ").map(|(_, text)| text)
}

/// Reads `$1 = 'it''s', $2 = NULL`.
fn parameters(list: &str) -> anyhow::Result<Vec<Option<String>>> {
    let mut found = Vec::new();
    let mut rest = list;
    while let Some((_, value)) = rest.split_once(" = ") {
        if let Some(after) = value.strip_prefix("NULL") {
            found.push(None);
            rest = after;
            continue;
        }
        let mut text = String::new();
        let mut characters = value.strip_prefix('\'').context("a parameter without quotes")?.char_indices().peekable();
        let end = loop {
            match characters.next() {
                Some((_, '\'')) if characters.peek().is_some_and(|(_, c)| *c == '\'') => {
                    characters.next();
                    text.push('\'');
                }
                Some((place, '\'')) => break place,
                Some((_, character)) => text.push(character),
                None => bail!("a parameter without end"),
            }
        };
        found.push(Some(text));
        // Positions are counted without the opening quote.
        rest = &value[end + 2..];
    }
    Ok(found)
}

/// A script for pgbench with its variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The script.
    pub text: String,
    /// Variables, for `-D`.
    pub variables: BTreeMap<String, String>,
}

impl Script {
    /// Makes a script that runs the statements as one transaction of pgbench. `drawn` lists captured values that each run
    /// replaces by its own: the value, the name of the variable, and the expression that draws it.
    ///
    /// # Errors
    /// Returns an error if no statement has one of these values.
    pub fn of(statements: &[Statement], drawn: &[(&str, &str, &str)]) -> anyhow::Result<Self> {
        let mut script = Self::default();
        for (value, name, expression) in drawn {
            let used = statements.iter().flat_map(|s| &s.parameters).any(|p| p.as_deref() == Some(value));
            if !used {
                bail!("no captured statement has {value}");
            }
            writeln!(script.text, "\\set {name} {expression}")?;
        }
        for (number, statement) in statements.iter().enumerate() {
            let text = script.with_variables(number, statement, drawn);
            writeln!(script.text, "{text};")?;
        }
        Ok(script)
    }

    fn with_variables(&mut self, number: usize, statement: &Statement, drawn: &[(&str, &str, &str)]) -> String {
        let mut text = String::new();
        let mut rest = statement.text.as_str();
        while let Some(place) = rest.find('$') {
            let digits: String = rest[place + 1..].chars().take_while(char::is_ascii_digit).collect();
            text.push_str(&rest[..place]);
            rest = &rest[place + 1 + digits.len()..];
            let place = digits.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
            let value = place.and_then(|place| statement.parameters.get(place));
            // pgbench makes each occurrence a parameter of its own, whose type is not always clear.
            let kind = place.and_then(|place| statement.types.get(place)).map(|kind| format!("::{kind}"));
            match value {
                None => {
                    text.push('$');
                    text.push_str(&digits);
                    continue;
                }
                Some(None) => text.push_str("NULL"),
                Some(Some(value)) => match drawn.iter().find(|(captured, ..)| captured == value) {
                    Some((_, name, _)) => {
                        text.push(':');
                        text.push_str(name);
                    }
                    None => {
                        let name = format!("s{number}p{digits}");
                        text.push(':');
                        text.push_str(&name);
                        self.variables.insert(name, value.clone());
                    }
                },
            }
            text.push_str(&kind.unwrap_or_default());
        }
        text.push_str(rest);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"dbname":"billing","message":"duration: 0.010 ms  statement: BEGIN"}
{"dbname":"billing","message":"duration: 0.200 ms  parse sqlx_s_1: SELECT $1"}
{"dbname":"other","message":"duration: 0.200 ms  execute sqlx_s_1: SELECT 2"}
{"dbname":"billing","message":"duration: 0.2 ms  execute sqlx_s_1: INSERT INTO t VALUES ($1, $2, $10::text, $1)","detail":"parameters: $1 = 'it''s = 1, $2', $2 = NULL, $3 = '3', $4='x'"}
"#;

    #[test]
    fn executed_statements_are_read_with_their_parameters() {
        let log = LOG.replace(", $4='x'", "");
        let found = statements(&log, "billing").unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0], Statement { text: "BEGIN".into(), ..Statement::default() });
        assert_eq!(found[1].parameters, [Some("it's = 1, $2".into()), None, Some("3".into())]);
    }

    #[test]
    fn a_script_has_variables_for_values_keeps_nulls_and_draws_values_that_must_differ() {
        let statement = Statement {
            text: "SELECT f($1, $2, $3) FROM t WHERE a = $1 AND b = '$'".into(),
            parameters: vec![Some("item".into()), None, Some("request".into())],
            types: vec!["text".into(), "integer[]".into(), "text".into()],
        };
        let script = Script::of(&[statement], &[("request", "id", "random(1, 9)")]).unwrap();
        let expected = "\\set id random(1, 9)\n\
            SELECT f(:s0p1::text, NULL::integer[], :id::text) FROM t WHERE a = :s0p1::text AND b = '$';\n";
        assert_eq!(script.text, expected);
        assert_eq!(script.variables, BTreeMap::from([("s0p1".to_owned(), "item".to_owned())]));
    }

    #[test]
    fn a_value_to_draw_that_no_statement_has_is_an_error() {
        assert!(Script::of(&[], &[("gone", "id", "1")]).is_err());
    }
}
