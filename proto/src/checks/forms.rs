//! The forms of single values: the length, range and form of texts, decimals, whole numbers, days and months.

use std::str::FromStr;

use rust_decimal::Decimal;

use super::{Format, Rule};
use crate::contract::v1::FaultKind;

/// Returns the fault of a text that is given.
pub(super) fn text_fault(rule: &Rule, value: &str) -> Option<FaultKind> {
    if rule.length > 0 && value.chars().count() > rule.length as usize {
        return Some(FaultKind::Length);
    }
    let fits = match rule.format {
        // A remark may have lines, and pictures that are joined out of several characters.
        Format::Any => !value.chars().any(|c| is_invisible(c) && !shapes_text(c)),
        Format::DateNumber | Format::MonthNumber => true,
        Format::Digits => value.bytes().all(|b| b.is_ascii_digit()),
        Format::Identifier => value.bytes().all(|b| b.is_ascii_graphic()),
        Format::DateOrTime => is_date_or_time(value),
        Format::Name => !value.trim().is_empty() && !value.chars().any(is_invisible),
        Format::Region => is_region(value),
        Format::Phone => is_phone(value),
    };
    (!fits).then_some(FaultKind::Format)
}

/// Returns true if a text has the form of a code of an administrative division: twelve digits.
fn is_region(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// Returns true for five digits or more, perhaps after a plus sign. One spelling of a number is one phone.
fn is_phone(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    digits.len() >= 5 && digits.bytes().all(|b| b.is_ascii_digit())
}

/// Returns true for the invisible characters that a text of several lines needs: line ends, tabs, and what joins or styles the
/// characters beside it.
fn shapes_text(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\t' | '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}')
}

/// Returns true for controls and for characters that change how others look or are seen by nobody: two names that differ
/// in them look the same.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{2800}' | '\u{fdd0}'..='\u{fdef}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// Returns the fault of a decimal in its text form.
pub(super) fn decimal_fault(rule: &Rule, value: &str) -> Option<FaultKind> {
    let scale = rule.scale.unwrap_or_default();
    let Some(decimal) = parse_decimal(value) else {
        let digits = value.bytes().filter(u8::is_ascii_digit).count();
        // Well-formed but beyond 28 digits: too long on one side of the point, not malformed.
        let well_formed = value.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
        return Some(match well_formed && digits > 28 {
            false => FaultKind::Format,
            true if is_longer_before_the_point(value, rule, scale) => FaultKind::Length,
            true => FaultKind::Scale,
        });
    };
    if decimal.normalize().scale() > scale {
        return Some(FaultKind::Scale);
    }
    let whole = decimal.trunc().abs();
    let whole_digits = if whole.is_zero() { 0 } else { whole.to_string().len() };
    if rule.length > 0 && whole_digits > rule.length.saturating_sub(scale) as usize {
        return Some(FaultKind::Length);
    }
    out_of_range(rule, decimal).then_some(FaultKind::Range)
}

/// Returns the fault of a whole number.
pub(super) fn number_fault(rule: &Rule, value: i64) -> Option<FaultKind> {
    if rule.length > 0 && value.unsigned_abs().checked_ilog10().unwrap_or(0) >= rule.length {
        return Some(FaultKind::Length);
    }
    if out_of_range(rule, Decimal::from(value)) {
        return Some(FaultKind::Range);
    }
    match rule.format {
        Format::DateNumber if !is_date(value) => Some(FaultKind::Format),
        Format::MonthNumber if !is_month(value) => Some(FaultKind::Format),
        _ => None,
    }
}

fn is_longer_before_the_point(value: &str, rule: &Rule, scale: u32) -> bool {
    let whole = value.split('.').next().unwrap_or_default().trim_start_matches(['-', '0']);
    // Without a fraction there is no other side.
    !value.contains('.') || rule.length > 0 && whole.len() > rule.length.saturating_sub(scale) as usize
}

/// Reads a decimal in plain notation: an optional minus, digits, and perhaps a point with
/// digits on both sides. `None` for anything else and for what 28 digits cannot hold.
///
/// ```
/// use communal_proto::parse_decimal;
/// assert_eq!(parse_decimal("0.488300").map(|d| d.to_string()).as_deref(), Some("0.488300"));
/// assert_eq!(parse_decimal("1e3"), None);
/// assert_eq!(parse_decimal(".5"), None);
/// ```
#[must_use]
pub fn parse_decimal(value: &str) -> Option<Decimal> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || fraction.is_some_and(|f| !all_digits(f)) {
        return None;
    }
    Decimal::from_str_exact(value).ok()
}

fn out_of_range(rule: &Rule, value: Decimal) -> bool {
    let bound = |text: Option<&str>| text.and_then(|t| Decimal::from_str(t).ok());
    bound(rule.minimum).is_some_and(|least| value < least) || bound(rule.maximum).is_some_and(|most| value > most)
}

fn is_month(value: i64) -> bool {
    (190_001..=999_912).contains(&value) && (1..=12).contains(&(value % 100))
}

fn is_date(value: i64) -> bool {
    if !is_month(value / 100) {
        return false;
    }
    let (year, month, day) = (value / 10_000, value / 100 % 100, value % 100);
    (1..=days_in_month(year, month)).contains(&day)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// `yyyy-MM-dd` or `yyyy-MM-dd HH:mm:ss`.
fn is_date_or_time(value: &str) -> bool {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = value.get(range)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
    };
    let at = |index: usize, byte: u8| value.as_bytes().get(index) == Some(&byte);
    let date = || -> Option<bool> {
        let day = number(0..4)? * 10_000 + number(5..7)? * 100 + number(8..10)?;
        Some(at(4, b'-') && at(7, b'-') && is_date(day))
    };
    let time = || -> Option<bool> {
        let (h, m, s) = (number(11..13)?, number(14..16)?, number(17..19)?);
        Some(at(10, b' ') && at(13, b':') && at(16, b':') && h < 24 && m < 60 && s < 60)
    };
    match value.len() {
        10 => date() == Some(true),
        19 => date() == Some(true) && time() == Some(true),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::{PRICE, kind_of};

    #[test]
    fn a_name_is_seen_as_it_is() {
        let rule = |required| Rule { format: Format::Name, required, ..Rule::ANY };
        let of = |value: &str, required| kind_of(|c| c.text(&rule(required), value));
        for good in ["一号抄表区段", "a b", " 阳光　花园 ", "Ⅲ期（东）", "é"] {
            assert_eq!(of(good, true), None, "{good}");
        }
        for bad in [
            "\u{2800}",
            "a\u{ffff}",
            "\u{1fffe}",
            "a\u{200b}b",
            "\u{feff}a",
            "a\nb",
            "a\tb",
            "\u{202e}a",
            "a\u{7f}",
            "\u{3164}",
        ] {
            assert_eq!(of(bad, true), Some(FaultKind::Format), "{bad:?}");
        }
        for blank in [" ", "\u{3000}\u{a0}", "\t\n"] {
            assert_eq!((of(blank, true), of(blank, false)), (Some(FaultKind::Missing), Some(FaultKind::Format)));
        }
        assert_eq!((of("", true), of("", false)), (Some(FaultKind::Missing), None));
    }

    #[test]
    fn a_text_may_have_lines_and_nothing_else_that_is_not_seen() {
        let of = |value: &str| kind_of(|c| c.text(&Rule { required: true, ..Rule::ANY }, value));
        for good in ["第一行\n第二行", "a\tb\r\n", "❤\u{fe0f}", "👩\u{200d}🔧", " 备注 "] {
            assert_eq!(of(good), None, "{good:?}");
        }
        for bad in ["a\u{200b}b", "\u{feff}a", "\u{202e}a", "a\u{7f}", "a\u{1b}[31m", "a\0"] {
            assert_eq!(of(bad), Some(FaultKind::Format), "{bad:?}");
        }
        assert_eq!(of(" \n\u{3000}"), Some(FaultKind::Missing));
    }

    #[test]
    fn a_region_has_twelve_digits() {
        let of = |value: &str| kind_of(|c| c.text(&Rule { format: Format::Region, ..Rule::ANY }, value));
        assert_eq!((of("110101000000"), of("")), (None, None));
        for bad in ["99", "1101010000001", "11010100000a", "１１０１０１００００００"] {
            assert_eq!(of(bad), Some(FaultKind::Format), "{bad}");
        }
    }

    #[test]
    fn a_phone_has_digits_alone() {
        let of = |value: &str| kind_of(|c| c.text(&Rule { format: Format::Phone, ..Rule::ANY }, value));
        for good in ["13800138000", "+8613800138000", "10086", ""] {
            assert_eq!(of(good), None, "{good}");
        }
        for bad in ["abc", "139 0000 0081", "１３９００００１０００", "+", "1380-0138", "13800138000x", "1234"]
        {
            assert_eq!(of(bad), Some(FaultKind::Format), "{bad}");
        }
    }

    #[test]
    fn decimals_are_held_to_length_and_scale() {
        let of = |value: &str| kind_of(|c| c.decimal(&PRICE, value));
        for good in ["0", "0.488300", "99999999.999999", "1.5000000000"] {
            assert_eq!(of(good), None, "{good}");
        }
        assert_eq!(of(""), Some(FaultKind::Missing));
        assert_eq!(of("0.4883001"), Some(FaultKind::Scale));
        assert_eq!(of("100000000"), Some(FaultKind::Length));
        assert_eq!(of("-0.1"), Some(FaultKind::Range));
        assert_eq!(of(&"9".repeat(40)), Some(FaultKind::Length));
        assert_eq!(of(&format!("{}.5", "9".repeat(40))), Some(FaultKind::Length));
        assert_eq!(of(&format!("0.{}1", "0".repeat(60))), Some(FaultKind::Scale));
        assert_eq!(of(&format!("000.{}", "9".repeat(60))), Some(FaultKind::Scale));
        for bad in ["1e3", ".5", "5.", "0x1", "NaN", " 1", "--1", "1.2.3"] {
            assert_eq!(of(bad), Some(FaultKind::Format), "{bad}");
        }
    }

    #[test]
    fn dates_must_exist() {
        for good in [20_240_229, 19_000_101, 20_231_231] {
            assert!(is_date(good), "{good}");
        }
        for bad in [20_230_229, 20_231_301, 20_230_431, 20_230_100, 99, 202_401_011] {
            assert!(!is_date(bad), "{bad}");
        }
        assert!(is_date_or_time("2024-02-29") && is_date_or_time("2024-02-29 23:59:59"));
        for bad in ["2024-02-30", "2024-2-3", "2024-02-29T00:00:00", "2024-02-29 24:00:00", "２０２４-02-29", ""] {
            assert!(!is_date_or_time(bad), "{bad}");
        }
    }

    #[test]
    fn length_counts_characters_not_bytes() {
        let rule = Rule { length: 4, scale: None, ..PRICE };
        assert_eq!(kind_of(|c| c.text(&rule, "四个汉字")), None);
        assert_eq!(kind_of(|c| c.text(&rule, "五个汉字了")), Some(FaultKind::Length));
    }
}
