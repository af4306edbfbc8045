//! Pages: by number, as the documents have them, and by key, for lists without a bound.

use communal_kit::refusal::Refusal;
use communal_proto::Fault;
use communal_proto::contract::v1::Reason as Common;
use sha2::{Digest, Sha256};

/// Rows in a page by key where the caller does not say.
const DEFAULT_PAGE_SIZE: usize = 100;
/// Hexadecimal digits of the filter's fingerprint in a token.
const FINGERPRINT: usize = 16;

/// Pages by number: `page` from 1, of `row` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Place of the first row, from 1.
    pub first: i64,
    /// Place of the last row.
    pub last: i64,
}

impl Page {
    /// The page of a number; both are at least 1 by the field rules.
    #[must_use]
    pub fn numbered(page: i32, row: i32) -> Self {
        let (page, row) = (i64::from(page), i64::from(row));
        Self { first: (page - 1) * row + 1, last: page * row }
    }
}

/// How many pages of `row` rows `total` rows make.
///
/// ```
/// use communal_community::paging::pages;
/// assert_eq!([pages(0, 10), pages(1, 10), pages(10, 10), pages(11, 10)], [0, 1, 1, 2]);
/// ```
#[must_use]
pub fn pages(total: i64, row: i32) -> i64 {
    let row = i64::from(row.max(1));
    (total + row - 1) / row
}

/// A page by key: the rows after a key, so that rows which come and go meanwhile neither
/// repeat nor skip others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPage {
    /// The last key of the page before; empty for the first page.
    pub after: String,
    /// Rows.
    pub size: usize,
    fingerprint: String,
}

impl KeyPage {
    /// Reads the page asked for. `filter` is everything else the caller asked: a token is
    /// only good for the question it came from.
    ///
    /// # Errors
    /// `PAGE_INVALID` where the token is another question's, or none of ours.
    pub fn read(page_size: i32, page_token: &str, filter: &[&str]) -> Result<Self, Refusal> {
        let fingerprint = fingerprint(filter);
        let after = match page_token.strip_prefix(fingerprint.as_str()) {
            Some(after) => after,
            None if page_token.is_empty() => "",
            None => return Err(foreign_token()),
        };
        let size = match usize::try_from(page_size) {
            Ok(0) | Err(_) => DEFAULT_PAGE_SIZE,
            Ok(size) => size,
        };
        Ok(Self { after: after.to_owned(), size, fingerprint })
    }

    /// Rows to read: one more than asked for tells whether there is a next page.
    #[must_use]
    pub fn limit(&self) -> i64 {
        i64::try_from(self.size).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// Cuts the one row too many off, and makes the token of the next page.
    pub fn cut<T>(&self, rows: &mut Vec<T>, key: impl Fn(&T) -> &str) -> String {
        if rows.len() <= self.size {
            return String::new();
        }
        rows.truncate(self.size);
        rows.last().map(|last| format!("{}{}", self.fingerprint, key(last))).unwrap_or_default()
    }
}

fn fingerprint(filter: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in filter {
        // No part can contain it: the field rules refuse it.
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let mut digits = hex::encode(hash.finalize());
    digits.truncate(FINGERPRINT);
    digits
}

fn foreign_token() -> Refusal {
    let text = "分页标记不正确，请从第一页重新查询";
    let fault = Fault::rule("pageToken", "is not the token of a page of this list", text);
    Refusal::new(Common::PageInvalid, text).fault(fault)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_continues_after_the_last_row_and_only_its_own_question() {
        let first = KeyPage::read(2, "", &["10001", "item"]).unwrap();
        assert_eq!((first.after.as_str(), first.limit()), ("", 3));
        let mut rows = vec!["a", "b", "c"];
        let token = first.cut(&mut rows, |r| r);
        assert_eq!(rows, ["a", "b"]);

        let second = KeyPage::read(2, &token, &["10001", "item"]).unwrap();
        assert_eq!(second.after, "b");
        assert_eq!(second.cut(&mut vec!["c"], |r| r), "");
        for filter in [["10001", "other"], ["10002", "item"], ["10001item", ""]] {
            assert_eq!(KeyPage::read(2, &token, &filter).unwrap_err().reason(), "PAGE_INVALID");
        }
    }

    #[test]
    fn a_token_fits_its_field() {
        let page = KeyPage::read(1, "", &["x"]).unwrap();
        let longest_id = "9".repeat(30);
        let mut rows = vec![longest_id.clone(), longest_id];
        assert!(page.cut(&mut rows, |r| r).len() <= 64);
    }

    #[test]
    fn pages_by_number_meet_without_gap() {
        assert_eq!(Page::numbered(1, 10), Page { first: 1, last: 10 });
        assert_eq!(Page::numbered(2, 10), Page { first: 11, last: 20 });
        assert_eq!(Page::numbered(1_000_000, 500).last, 500_000_000);
    }
}
