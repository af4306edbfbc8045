//! The canonical form of a request, by which two requests are told to be the same or not.
//!
//! A client that sends a request again may write it in another way: `2.5` for `2.50`. Both mean the same, so a
//! comparison of the bytes would refuse the repetition as another request. Decimals therefore count by their value;
//! everything else counts as it is written.

use crate::parse_decimal;
use crate::wire::{Broken, Kind, Message, delimited, skip, varint};

/// Returns the canonical form of an encoded message. It is not itself an encoded message: it serves to be compared or
/// hashed.
///
/// ```
/// use communal_proto::billing::v1::{SalePackagePriceRow, UpdateSalePackagePriceRequest};
/// use communal_proto::canonical;
/// use prost::Message;
///
/// let (_, request) = communal_proto::REQUESTS.iter().find(|(path, _)| path.ends_with("/UpdateSalePackagePrice")).unwrap();
/// let of = |price: &str| {
///     let row = SalePackagePriceRow { price: price.into(), ..Default::default() };
///     canonical::form(request.message, &UpdateSalePackagePriceRequest { rows: vec![row] }.encode_to_vec()).unwrap()
/// };
/// assert_eq!(of("2.5"), of("2.50"));
/// assert_ne!(of("2.5"), of("2.05"));
/// ```
///
/// # Errors
/// Returns what is wrong with bytes that are no such message.
pub fn form(message: &Message, bytes: &[u8]) -> Result<Vec<u8>, Broken> {
    let mut form = Vec::with_capacity(bytes.len() + bytes.len() / 8);
    write(message, bytes, &mut form)?;
    Ok(form)
}

/// Appends a message. Each field is its number and its content; what has a length has it before the content, and a
/// message ends with the number 0, which no field has, so that two messages never have one form.
fn write(message: &Message, mut bytes: &[u8], form: &mut Vec<u8>) -> Result<(), Broken> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let number = tag >> 3;
        form.extend_from_slice(&number.to_be_bytes());
        let field = message.fields.iter().find(|field| u64::from(field.rule.field.number) == number);
        match (field.map(|field| (field.kind, field.rule.scale)), tag & 7) {
            (Some((Kind::Message(inner), _)), 2) => {
                write(inner, delimited(&mut bytes)?, form)?;
                form.extend_from_slice(&0_u64.to_be_bytes());
            }
            (Some((Kind::Text, Some(_))), 2) => {
                let text = delimited(&mut bytes)?;
                let value = std::str::from_utf8(text).ok().and_then(parse_decimal);
                match value {
                    Some(value) => sized(value.normalize().to_string().as_bytes(), form),
                    None => sized(text, form),
                }
            }
            (_, 2) => sized(delimited(&mut bytes)?, form),
            (_, 0) => form.extend_from_slice(&varint(&mut bytes)?.to_be_bytes()),
            (_, wire_type) => {
                let before = bytes;
                skip(&mut bytes, wire_type)?;
                sized(before.get(..before.len() - bytes.len()).unwrap_or_default(), form);
            }
        }
    }
    Ok(())
}

fn sized(bytes: &[u8], form: &mut Vec<u8>) {
    form.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    form.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use prost::Message as _;

    use super::*;
    use crate::billing::v1::{SalePackagePriceRow, UpdateSalePackagePriceRequest};

    fn of(rows: &[(&str, &str, i64)]) -> Vec<u8> {
        let rows = rows.iter().map(|(package_id, price, upper_limit)| SalePackagePriceRow {
            package_id: (*package_id).into(),
            price: (*price).into(),
            upper_limit: *upper_limit,
            ..Default::default()
        });
        let request = UpdateSalePackagePriceRequest { rows: rows.collect() };
        let path = "/communal.billing.v1.PackagePriceService/UpdateSalePackagePrice";
        let (_, known) = crate::REQUESTS.iter().find(|(known, _)| *known == path).unwrap();
        form(known.message, &request.encode_to_vec()).unwrap()
    }

    #[test]
    fn decimals_count_by_their_value_and_everything_else_as_it_is_written() {
        for same in ["1", "1.0", "1.000000", "01.00"] {
            assert_eq!(of(&[("a", same, 1)]), of(&[("a", "1", 1)]), "{same}");
        }
        for other in ["10", "0.1", "1.01", "-1", "", "1e0"] {
            assert_ne!(of(&[("a", other, 1)]), of(&[("a", "1", 1)]), "{other}");
        }
        assert_ne!(of(&[("1.0", "1", 1)]), of(&[("1", "1", 1)]), "an identifier is not a decimal");
        assert_ne!(of(&[("a", "1", 1)]), of(&[("a", "1", 2)]));
    }

    #[test]
    fn what_moves_from_one_row_or_field_to_another_is_another_request() {
        let rows = [("a", "1", 0), ("b", "2", 0)];
        assert_ne!(of(&rows), of(&[("b", "2", 0), ("a", "1", 0)]));
        assert_ne!(of(&rows), of(&[("a", "", 0), ("", "1", 0), ("b", "2", 0)]));
        assert_ne!(of(&[("ab", "", 0)]), of(&[("a", "", 0), ("b", "", 0)]));
    }

    #[test]
    fn bytes_that_are_no_message_have_no_form() {
        let (_, request) = crate::REQUESTS.first().unwrap();
        for bytes in [&[0x0a_u8][..], &[0x0a, 5, 0], &[0xff; 12]] {
            assert!(form(request.message, bytes).is_err(), "{bytes:?}");
        }
    }
}
