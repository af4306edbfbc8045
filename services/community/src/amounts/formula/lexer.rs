//! Cuts a formula into tokens, each with the position of its first character.
//!
//! People type these formulas with a Chinese input method, so full-width letters, digits,
//! operators and spaces mean the same as their half-width twins.

use rust_decimal::Decimal;

use super::{FormulaError, FormulaFault, LONGEST, Variable};

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Number(Decimal),
    Variable(Variable),
    Plus,
    Minus,
    Times,
    Divide,
    Open,
    Close,
}

/// A token and its position, counted in characters from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) position: usize,
}

/// Most digits of a number.
const MOST_DIGITS: usize = 28;

/// The Chinese variables, the longest first so that 建筑面积 is not read as 面积 with something
/// unknown before it.
const WORDS: [(&str, Variable); 5] = [
    ("建筑面积", Variable::BuiltUpArea),
    ("附加费用", Variable::AdditionalAmount),
    ("附加费", Variable::AdditionalAmount),
    ("面积", Variable::BuiltUpArea),
    ("单价", Variable::Price),
];

/// Cuts `text` into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, FormulaError> {
    let characters: Vec<char> = text.chars().map(half_width).collect();
    if characters.len() > LONGEST {
        return Err(FormulaError { position: LONGEST + 1, fault: FormulaFault::TooLong });
    }
    let mut found = Vec::new();
    let mut rest = characters.as_slice();
    while let Some(&character) = rest.first() {
        let start = characters.len() - rest.len();
        if character.is_whitespace() {
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        let (token, taken) =
            next_token(character, rest).map_err(|fault| FormulaError { position: start + 1, fault })?;
        found.push(Placed { token, position: start + 1 });
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(found)
}

/// Returns the token at the start of `rest`, and the number of its characters.
fn next_token(character: char, rest: &[char]) -> Result<(Token, usize), FormulaFault> {
    let operator = match character {
        '+' => Some(Token::Plus),
        '-' => Some(Token::Minus),
        '*' => Some(Token::Times),
        '/' => Some(Token::Divide),
        '(' => Some(Token::Open),
        ')' => Some(Token::Close),
        _ => None,
    };
    if let Some(token) = operator {
        return Ok((token, 1));
    }
    match character {
        '0'..='9' | '.' => number(rest),
        'A'..='Z' | 'a'..='z' => letters(rest),
        _ => word(rest).ok_or(FormulaFault::UnknownCharacter(character)),
    }
}

/// A number: digits, and perhaps a point with digits on both sides.
fn number(rest: &[char]) -> Result<(Token, usize), FormulaFault> {
    let text: String = rest.iter().take_while(|c| c.is_ascii_digit() || **c == '.').collect();
    if text.starts_with('.') || text.ends_with('.') || text.matches('.').count() > 1 {
        return Err(FormulaFault::MalformedNumber(text));
    }
    let taken = text.len();
    // 96 bits hold some numbers of 29 digits as well, which nothing could be added to.
    if text.bytes().filter(u8::is_ascii_digit).count() > MOST_DIGITS {
        return Err(FormulaFault::NumberTooLong);
    }
    // Normalized, so that 2.50 and 2.5 are the same formula.
    let number = Decimal::from_str_exact(&text).map_err(|_| FormulaFault::NumberTooLong)?.normalize();
    Ok((Token::Number(number), taken))
}

/// A letter of the documents, or RL with the number of a room attribute.
fn letters(rest: &[char]) -> Result<(Token, usize), FormulaFault> {
    let text: String = rest.iter().take_while(|c| c.is_ascii_alphabetic()).collect();
    let taken = text.len();
    let variable = match text.as_str() {
        "C" => Variable::CommunityArea,
        "F" => Variable::BuildingArea,
        "U" => Variable::UnitArea,
        "R" => Variable::BuiltUpArea,
        "X" => Variable::Coefficient,
        "L" => Variable::Storey,
        "RL" => {
            let digits: String = rest.iter().skip(taken).take_while(|c| c.is_ascii_digit()).collect();
            if digits.is_empty() {
                return Err(FormulaFault::AttributeWithoutNumber);
            }
            let taken = taken + digits.len();
            return Ok((Token::Variable(Variable::RoomAttribute(digits)), taken));
        }
        _ => return Err(FormulaFault::UnknownWord(text)),
    };
    Ok((Token::Variable(variable), taken))
}

/// A Chinese variable.
fn word(rest: &[char]) -> Option<(Token, usize)> {
    WORDS.iter().find_map(|(word, variable)| {
        let length = word.chars().count();
        let fits = rest.iter().take(length).copied().eq(word.chars());
        fits.then(|| (Token::Variable(variable.clone()), length))
    })
}

/// The half-width twin of a full-width character, and of the mathematical signs.
fn half_width(character: char) -> char {
    match character {
        '×' | '∗' => '*',
        '÷' => '/',
        '−' | '–' => '-',
        '\u{3000}' => ' ',
        '！'..='～' => u32::from(character).checked_sub(0xFEE0).and_then(char::from_u32).unwrap_or(character),
        other => other,
    }
}
