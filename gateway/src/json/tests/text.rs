//! Strings, integers and decimals.

use proptest::prelude::*;

use crate::encoding::json::{push_integer, push_json_bytes, push_json_text};
use crate::json::decimal::{Number, NumberFault, push_decimal};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn strings_are_escaped_as_serde_json_does(text in "\\PC*|[\\x00-\\x7f]{0,40}|.{0,9}[\"\\\\\\x00-\\x1f].{0,20}") {
        let mut out = Vec::new();
        push_json_bytes(&mut out, text.as_bytes()).unwrap();
        prop_assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(&text).unwrap());
    }

    #[test]
    fn bytes_are_a_string_only_when_they_are_utf_8(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
        let mut out = Vec::new();
        let written = push_json_bytes(&mut out, &bytes);
        prop_assert_eq!(written.is_some(), std::str::from_utf8(&bytes).is_ok());
    }

    #[test]
    fn integers_are_written_in_full(value: i64) {
        let mut out = Vec::new();
        push_integer(&mut out, value);
        prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
    }

    /// Moving the point there and back changes only zeros at the ends.
    #[test]
    fn an_exponent_is_written_out_exactly(digits in "[1-9][0-9]{0,12}", fraction in "[0-9]{1,12}", exponent in -20_i32..20) {
        let text = format!("{digits}.{fraction}e{exponent}");
        let number = Number::parse(&text).unwrap();
        let significant = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>().trim_matches('0').to_owned();
        prop_assert_eq!(significant(number.plain()), significant(&format!("{digits}{fraction}")));
        let float: f64 = text.parse().unwrap();
        prop_assert_eq!(number.plain().parse::<f64>().unwrap(), float);
    }
}

fn decimal(text: &str, scale: u32) -> Option<String> {
    let mut out = Vec::new();
    push_decimal(&mut out, text.as_bytes(), scale)?;
    Some(String::from_utf8(out).unwrap())
}

#[test]
fn decimals_have_exactly_the_documented_digits() {
    for (text, scale, written) in [
        ("2.5", 6, "2.500000"),
        ("2.50", 2, "2.50"),
        ("0", 2, "0.00"),
        ("-0.00", 2, "0.00"),
        ("-0.01", 2, "-0.01"),
        ("100", 0, "100"),
        ("100.000", 0, "100"),
        ("99999999999999.99", 2, "99999999999999.99"),
        ("0.4883000000", 6, "0.488300"),
    ] {
        assert_eq!(decimal(text, scale).as_deref(), Some(written), "{text} at {scale}");
    }
}

#[test]
fn a_text_that_is_not_a_decimal_of_the_scale_is_never_written() {
    for text in [
        "", "-", ".", "1.", ".5", "1,5", "NaN", "1e3", "+1", "01", "--1", "1.2.3", " 1", "1 ", "0x1", "1\"", "٣",
        "2.505",
    ] {
        assert_eq!(decimal(text, 2), None, "{text}");
    }
}

#[test]
fn numbers_are_kept_as_they_are_written_unless_they_have_an_exponent() {
    for (text, plain) in [
        ("2.50", "2.50"),
        ("-0", "-0"),
        ("0.000000", "0.000000"),
        ("12345678901234567890.12", "12345678901234567890.12"),
        ("1e3", "1000"),
        ("1.5E+1", "15"),
        ("1.50e1", "15.0"),
        ("-25e-1", "-2.5"),
        ("1e-2", "0.01"),
        ("0.001e3", "1"),
        ("0e99999999999999999999", "0"),
        ("0.0e-5", "0"),
    ] {
        assert_eq!(Number::parse(text).unwrap().plain(), plain, "{text}");
    }
}

#[test]
fn numbers_that_would_need_unbounded_memory_are_too_long() {
    let long = "1".repeat(65);
    for text in ["1e65", "1e999999999999999999999", "-1e2147483648", &long, &format!("{long}e-1")] {
        assert_eq!(Number::parse(text), Err(NumberFault::Length), "{text}");
    }
    for text in ["1e-65", "1e-999999999999", &format!("0.{long}"), &format!("0.{long}e1"), "1.5e-63"] {
        assert_eq!(Number::parse(text), Err(NumberFault::Scale), "{text}");
    }
}

#[test]
fn a_text_that_json_does_not_accept_is_not_a_number() {
    for text in [
        "", " ", "-", "+1", "1.", ".1", "01", "1e", "1e+", "e1", "0x10", "1_000", "Infinity", "NaN", "1 ", "１", "--1",
        "1e1.0",
    ] {
        assert_eq!(Number::parse(text), Err(NumberFault::Syntax), "{text}");
    }
}

#[test]
fn only_whole_values_are_integers() {
    assert_eq!(Number::parse("20240101.000").unwrap().whole(), Some(Ok(20_240_101)));
    assert_eq!(Number::parse("-9223372036854775808").unwrap().whole(), Some(Ok(i64::MIN)));
    assert_eq!(Number::parse("2.5").unwrap().whole(), None);
    assert!(Number::parse("9223372036854775808").unwrap().whole().unwrap().is_err());
}

#[test]
fn keys_are_escaped_too() {
    let mut out = Vec::new();
    push_json_text(&mut out, "a\"b\n\u{1}电");
    assert_eq!(out, "\"a\\\"b\\n\\u0001电\"".as_bytes());
}
