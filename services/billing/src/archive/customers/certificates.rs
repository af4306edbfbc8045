//! The numbers of certificates, which carry a check character each: a number that was mistyped is found before a person is
//! billed under it. Pure.
//!
//! The identity card (居民身份证) has the form of GB 11643; the residence permits of foreigners and of people from Hong Kong,
//! Macao and Taiwan have it too. The unified social credit code (统一社会信用代码) has that of GB 32100. What an earlier system
//! brings along is not judged by this: nobody can ask all its customers again.

use chrono::{Datelike as _, NaiveDate};
use communal_proto::billing::v1::fields::new_customer::{ACCOUNT_PASSWORD, CERTIFICATE_NUMBER};
use communal_proto::billing::v1::{AccCertType, NewCustomer};
use communal_proto::{Fault, FieldPath};

/// Shortest password of an account, in characters.
pub const SHORTEST_PASSWORD: usize = 6;

/// What each of the first 17 digits of an identity number counts.
const IDENTITY_WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
/// The check characters of an identity number, by the sum of its digits modulo 11.
const IDENTITY_CHECKS: &[u8; 11] = b"10X98765432";
/// What each of the first 17 characters of a credit code counts.
const CREDIT_WEIGHTS: [usize; 17] = [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28];
/// The characters of a credit code, by their value.
const CREDIT_CHARACTERS: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

/// Judges what identifies a new customer, and the password.
pub fn faults(customer: &NewCustomer, row: &FieldPath) -> Vec<Fault> {
    let number = customer.certificate_number.split_whitespace().collect::<String>().to_uppercase();
    let objection = match customer.certificate_kind() {
        // What is missing is told by the contract.
        _ if number.is_empty() => None,
        AccCertType::IdentityCard if !is_identity_number(&number) => Some((
            "is no identity number: 17 digits with a day of birth, and their check character",
            "身份证号码不正确",
        )),
        AccCertType::CreditCode if !is_credit_code(&number) => Some((
            "is no unified social credit code: 17 characters and their check character",
            "统一社会信用代码不正确",
        )),
        AccCertType::IdentityCard | AccCertType::CreditCode | AccCertType::Unspecified => None,
    };
    let mut faults = Vec::new();
    if let Some((english, text)) = objection {
        faults.push(Fault::rule(row.clone().then(CERTIFICATE_NUMBER), english, text));
    }
    if (1..SHORTEST_PASSWORD).contains(&customer.account_password.chars().count()) {
        let english = format!("has fewer than {SHORTEST_PASSWORD} characters");
        let text = format!("账户密码少于{SHORTEST_PASSWORD}位");
        faults.push(Fault::rule(row.clone().then(ACCOUNT_PASSWORD), english, text));
    }
    faults
}

/// Returns true for an identity number whose day of birth exists and whose check character is right.
///
/// Example: the digits of `11010519491231002X` times their weights make 167; 167 modulo 11 is 2, and the check character of 2
/// is `X`.
#[must_use]
pub fn is_identity_number(number: &str) -> bool {
    let Some((&check, digits)) = number.as_bytes().split_last() else { return false };
    if digits.len() != IDENTITY_WEIGHTS.len() || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 = digits.iter().zip(IDENTITY_WEIGHTS).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    let born = number.get(6..14).and_then(|day| NaiveDate::parse_from_str(day, "%Y%m%d").ok());
    // Regions begin with 1, and nobody was born before.
    !number.starts_with('0')
        && born.is_some_and(|day| day.year() >= 1900)
        && IDENTITY_CHECKS.get(sum as usize % 11) == Some(&check)
}

/// Returns true for a unified social credit code whose check character is right.
///
/// Example: the values of `91350100M000100Y4` times their weights make 1,640, which is 28 modulo 31; the code ends in the
/// character of 31 - 28 = 3.
#[must_use]
pub fn is_credit_code(code: &str) -> bool {
    let value = |character: &u8| CREDIT_CHARACTERS.iter().position(|c| c == character);
    let Some(values) = code.as_bytes().iter().map(value).collect::<Option<Vec<_>>>() else { return false };
    let Some((&check, values)) = values.split_last() else { return false };
    let sum: usize = values.iter().zip(CREDIT_WEIGHTS).map(|(value, weight)| value * weight).sum();
    values.len() == CREDIT_WEIGHTS.len() && check == (31 - sum % 31) % 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_number_has_a_day_of_birth_and_a_check_character() {
        for good in ["11010519491231002X", "110101199003070011", "34052419800101001X"] {
            assert!(is_identity_number(good), "{good}");
        }
        for bad in [
            "",
            "1",
            "110105194912310021",
            "110105199002300023",
            "11010519491231002x",
            "1101051949123100２X",
            "000000199001010018",
            "110101100001010012",
            "110105491231002",
        ] {
            assert!(!is_identity_number(bad), "{bad}");
        }
    }

    #[test]
    fn every_digit_that_is_mistyped_is_found() {
        for (number, holds) in
            [("11010519491231002X", is_identity_number as fn(&str) -> bool), ("91350100M000100Y43", is_credit_code)]
        {
            for place in 0..17 {
                let digit = number.as_bytes()[place];
                let other = if digit == b'1' { "2" } else { "1" };
                let mut mistyped = number.to_owned();
                mistyped.replace_range(place..=place, other);
                assert!(holds(number) && !holds(&mistyped), "{mistyped}");
            }
        }
    }

    #[test]
    fn a_credit_code_has_no_letters_that_look_like_digits() {
        assert!(is_credit_code("91350100M000100Y43") && is_credit_code("91110000100006021A"));
        for bad in ["", "9", "91350100M000100Y44", "91350100M0001O0Y43", "91350100M000100Y4", "91350100m000100y43"] {
            assert!(!is_credit_code(bad), "{bad}");
        }
    }

    #[test]
    fn a_customer_is_told_what_is_wrong_with_number_and_password() {
        let of = |kind: AccCertType, number: &str, password: &str| {
            let customer = NewCustomer {
                certificate_kind: kind.into(),
                certificate_number: number.into(),
                account_password: password.into(),
                ..NewCustomer::default()
            };
            faults(&customer, &FieldPath::from("C")).into_iter().map(|f| f.field.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of(AccCertType::IdentityCard, " 110105 19491231 002x", "123456"), [""; 0]);
        assert_eq!(of(AccCertType::IdentityCard, "91350100M000100Y43", "1"), ["C.ACC_CERT_INFO", "C.ACCOUNT_PASSWORD"]);
        assert_eq!(of(AccCertType::CreditCode, "11010519491231002X", "密码密码密码"), ["C.ACC_CERT_INFO"]);
        assert_eq!(of(AccCertType::IdentityCard, "", ""), [""; 0]);
    }
}
