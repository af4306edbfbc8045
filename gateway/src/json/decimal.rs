//! Numbers as text. No value passes through a float: 16 digits would not survive one, and
//! `2.50` has to stay `2.50`.

use std::borrow::Cow;

/// Most characters of a number that is carried. The longest documented one has 16 digits;
/// up to here the service says what is wrong with it, beyond it is named as too long.
const LONGEST: usize = 64;

/// The reason why a text is not a number that can be carried over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberFault {
    /// Not the JSON syntax of a number.
    Syntax,
    /// More digits than any documented field.
    Length,
    /// The same after the point.
    Scale,
}

/// A number in plain notation: an optional minus, digits, and perhaps a point and digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number<'t> {
    plain: Cow<'t, str>,
}

impl<'t> Number<'t> {
    /// Reads the text of a JSON number and expands an exponent.
    ///
    /// # Errors
    /// Returns an error if the text is not a number or is too long.
    pub fn parse(text: &'t str) -> Result<Self, NumberFault> {
        let parts = Parts::split(text).ok_or(NumberFault::Syntax)?;
        let digits_are_zero = |part: &str| part.bytes().all(|digit| digit == b'0');
        if parts.exponent.is_none() {
            // The common case: the text is plain notation already.
            return if text.len() <= LONGEST {
                Ok(Self { plain: Cow::Borrowed(text) })
            } else {
                Err(parts.longer_side())
            };
        }
        if digits_are_zero(parts.whole) && digits_are_zero(parts.fraction) {
            return Ok(Self { plain: Cow::Borrowed("0") });
        }
        if parts.whole.len() + parts.fraction.len() > LONGEST {
            return Err(parts.longer_side());
        }
        let exponent = parts.exponent.unwrap_or_default();
        let is_tiny = exponent.starts_with('-');
        let exponent: i32 = match exponent.parse() {
            Ok(exponent) if (-(LONGEST as i32)..=LONGEST as i32).contains(&exponent) => exponent,
            _ if is_tiny => return Err(NumberFault::Scale),
            _ => return Err(NumberFault::Length),
        };
        let plain = parts.shift(exponent);
        match plain.len() <= LONGEST {
            true => Ok(Self { plain: Cow::Owned(plain) }),
            false if is_tiny => Err(NumberFault::Scale),
            false => Err(NumberFault::Length),
        }
    }

    /// The plain notation.
    #[must_use]
    pub fn plain(&self) -> &str {
        &self.plain
    }

    /// Returns the plain notation.
    #[must_use]
    pub fn into_plain(self) -> Cow<'t, str> {
        self.plain
    }

    /// The value where it is whole. `None` where it has digits other than zero after the
    /// point; the inner error where it does not fit.
    #[must_use]
    pub fn whole(&self) -> Option<Result<i64, std::num::ParseIntError>> {
        let (whole, fraction) = self.plain.split_once('.').unwrap_or((&self.plain, ""));
        fraction.bytes().all(|digit| digit == b'0').then(|| whole.parse())
    }
}

/// The parts of a JSON number.
struct Parts<'t> {
    negative: bool,
    whole: &'t str,
    fraction: &'t str,
    exponent: Option<&'t str>,
}

impl<'t> Parts<'t> {
    fn split(text: &'t str) -> Option<Self> {
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (rest, None),
        };
        if exponent.is_some_and(|exponent| !all_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))) {
            return None;
        }
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) if all_digits(fraction) => (whole, fraction),
            Some(_) => return None,
            None => (mantissa, ""),
        };
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        (all_digits(whole) && !leading_zero).then_some(Self { negative, whole, fraction, exponent })
    }

    /// The side of the point that makes a number too long.
    fn longer_side(&self) -> NumberFault {
        if self.fraction.len() > self.whole.len() { NumberFault::Scale } else { NumberFault::Length }
    }

    /// Moves the point by `exponent` places to the right.
    fn shift(&self, exponent: i32) -> String {
        let digits = format!("{}{}", self.whole, self.fraction);
        // Digits before the point once it has moved; at most twice LONGEST away from zero.
        let before = self.whole.len() as i64 + i64::from(exponent);
        let count = digits.len() as i64;
        let (whole, fraction) = if before <= 0 {
            ("0".to_owned(), format!("{}{digits}", "0".repeat(before.unsigned_abs() as usize)))
        } else if before >= count {
            (format!("{digits}{}", "0".repeat((before - count) as usize)), String::new())
        } else {
            let (whole, fraction) = digits.split_at(before as usize);
            (whole.to_owned(), fraction.to_owned())
        };
        let trimmed = whole.trim_start_matches('0');
        let whole = if trimmed.is_empty() { "0" } else { trimmed };
        let sign = if self.negative { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{whole}{point}{fraction}")
    }
}

/// Appends the decimal text of a service as a bare number with exactly `scale` digits after
/// the point. `None` when it is no decimal or has more digits than the scale has room for:
/// the document promises the scale, and rounding is the service's business.
pub(crate) fn push_decimal(out: &mut Vec<u8>, text: &[u8], scale: u32) -> Option<()> {
    let scale = scale as usize;
    let start = out.len();
    let digits = match text.split_first() {
        Some((b'-', digits)) => {
            out.push(b'-');
            digits
        }
        _ => text,
    };
    let point = digits.iter().position(|&byte| byte == b'.').unwrap_or(digits.len());
    let (whole, fraction) = digits.split_at(point);
    let all_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let fraction = match fraction.split_first() {
        Some((_, digits)) if all_digits(digits) => digits,
        Some(_) => return None,
        None => &[],
    };
    if !all_digits(whole) || (whole.len() > 1 && whole[0] == b'0') {
        return None;
    }
    let kept = fraction.len().min(scale);
    if fraction[kept..].iter().any(|&digit| digit != b'0') {
        return None;
    }
    out.extend_from_slice(whole);
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(&fraction[..kept]);
        out.extend(std::iter::repeat_n(b'0', scale - kept));
    }
    // Minus zero is zero.
    if out[start] == b'-' && out[start + 1..].iter().all(|&byte| byte == b'0' || byte == b'.') {
        out.remove(start);
    }
    Some(())
}
