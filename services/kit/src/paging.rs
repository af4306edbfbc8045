//! Pages of an answer: by number, as documented; by key, for lists without a limit; and the cap of an
//! answer without pages.

use communal_proto::Fault;
use communal_proto::contract::v1::Reason as Common;
use sha2::{Digest, Sha256};

use crate::refusal::Refusal;

/// The rows in a page by key if the request names no number.
const DEFAULT_PAGE_SIZE: usize = 100;
/// The hexadecimal digits of the filter's hash in a token.
const FINGERPRINT: usize = 16;

/// The most rows of an answer that is not paged. An answer beyond it is refused, never cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap(i64);

impl Cap {
    /// The cap of every answer that has no cap of its own.
    pub const UNPAGED: Self = Self(10_000);

    /// Creates a cap from a setting.
    #[must_use]
    pub const fn of(rows: u32) -> Self {
        Self(rows as i64)
    }

    /// Returns the number of rows to read: one more than allowed, which shows that there are too many.
    #[must_use]
    pub fn limit(self) -> i64 {
        self.0.saturating_add(1)
    }

    /// Returns the rows if they are within the cap. `hint` is a Chinese text that says how to ask for
    /// fewer.
    ///
    /// # Errors
    /// Returns `ANSWER_TOO_LARGE` if there are more.
    pub fn check<T>(self, rows: Vec<T>, hint: &str) -> Result<Vec<T>, Refusal> {
        if i64::try_from(rows.len()).is_ok_and(|n| n <= self.0) { Ok(rows) } else { Err(self.exceeded(hint)) }
    }

    /// Checks the number of rows of an answer against the cap.
    ///
    /// # Errors
    /// Returns `ANSWER_TOO_LARGE` if there are more.
    pub fn check_total(self, total: i64, hint: &str) -> Result<(), Refusal> {
        if total <= self.0 { Ok(()) } else { Err(self.exceeded(hint)) }
    }

    fn exceeded(self, hint: &str) -> Refusal {
        Refusal::new(Common::AnswerTooLarge, format!("查询结果超过{}行，{hint}", self.0))
    }
}

/// A page by number.
///
/// A statement reads the rows of a page and their total at once: it numbers the rows, counts them
/// with `count(*) OVER ()`, and returns the first row besides those of the page, which tells the
/// total of a page beyond the end. [`Page::cut`] takes such an answer apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The position of the first row, from 1.
    pub first: i64,
    /// The position of the last row.
    pub last: i64,
}

impl Page {
    /// Creates page `number`, from 1, of `rows` rows; both are at least 1 by the field rules.
    #[must_use]
    pub fn numbered(page: i32, rows: i32) -> Self {
        let (page, rows) = (i64::from(page), i64::from(rows));
        Self { first: (page - 1) * rows + 1, last: page * rows }
    }

    /// Returns the only page of an answer without pages.
    #[must_use]
    pub fn all(cap: Cap) -> Self {
        Self { first: 1, last: cap.0 }
    }

    /// Splits the rows of a statement into those of the page and the total. `place` and `total` return
    /// the two columns of a row.
    pub fn cut<T>(self, mut rows: Vec<T>, place: impl Fn(&T) -> i64, total: impl Fn(&T) -> i64) -> (Vec<T>, i64) {
        let all = rows.first().map_or(0, total);
        rows.retain(|row| place(row) >= self.first);
        (rows, all)
    }

    /// Returns whether there are rows after the page.
    #[must_use]
    pub fn has_next(self, total: i64) -> bool {
        self.last < total
    }

    /// Returns the number of rows of the page.
    #[must_use]
    pub fn rows(self) -> i64 {
        self.last - self.first + 1
    }

    /// Returns the number of rows before the page.
    #[must_use]
    pub fn offset(self) -> i64 {
        self.first - 1
    }
}

/// Returns how many pages of `rows` rows `total` rows make.
///
/// ```
/// use communal_kit::paging::pages;
/// assert_eq!([pages(0, 10), pages(1, 10), pages(10, 10), pages(11, 10)], [0, 1, 1, 2]);
/// ```
#[must_use]
pub fn pages(total: i64, rows: i32) -> i64 {
    let rows = i64::from(rows.max(1));
    (total + rows - 1) / rows
}

/// A page by key: the rows after a key, so that rows which are added or removed meanwhile cause neither
/// repetitions nor gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPage {
    /// The last key of the page before; empty for the first page.
    pub after: String,
    /// The number of rows.
    pub size: usize,
    fingerprint: String,
}

impl KeyPage {
    /// Reads the requested page. `filter` is the rest of the request: a token is only valid for the
    /// list it came from.
    ///
    /// # Errors
    /// Returns `PAGE_INVALID` if the token belongs to another list or is malformed.
    pub fn read(page_size: i32, page_token: &str, filter: &[&str]) -> Result<Self, Refusal> {
        let fingerprint = fingerprint(filter);
        let after = match page_token.strip_prefix(fingerprint.as_str()) {
            Some(after) => after,
            None if page_token.is_empty() => "",
            None => return Err(unknown_token()),
        };
        let size = match usize::try_from(page_size) {
            Ok(0) | Err(_) => DEFAULT_PAGE_SIZE,
            Ok(size) => size,
        };
        Ok(Self { after: after.to_owned(), size, fingerprint })
    }

    /// Returns the number of rows to read: one more than requested, which shows whether there is a next
    /// page.
    #[must_use]
    pub fn limit(&self) -> i64 {
        i64::try_from(self.size).unwrap_or(i64::MAX).saturating_add(1)
    }

    /// Returns the token of the page that begins after a key, for a list that is read in portions.
    #[must_use]
    pub fn token(&self, after: &str) -> String {
        format!("{}{after}", self.fingerprint)
    }

    /// Removes the extra row, and returns the token of the next page.
    pub fn cut<T>(&self, rows: &mut Vec<T>, key: impl Fn(&T) -> &str) -> String {
        if rows.len() <= self.size {
            return String::new();
        }
        rows.truncate(self.size);
        rows.last().map(|last| self.token(key(last))).unwrap_or_default()
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

fn unknown_token() -> Refusal {
    let text = "分页标记不正确，请从第一页重新查询";
    let fault = Fault::rule("page_token", "is not the token of a page of this list", text);
    Refusal::new(Common::PageInvalid, text).fault(fault)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_continues_after_the_last_row_and_only_in_its_own_list() {
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
    fn an_answer_at_its_cap_is_given_and_one_beyond_is_refused() {
        let cap = Cap::of(2);
        assert_eq!(cap.check(vec![1, 2], "x").unwrap(), [1, 2]);
        let refusal = cap.check(vec![1, 2, 3], "请缩小范围").unwrap_err();
        assert_eq!((refusal.reason(), refusal.text()), ("ANSWER_TOO_LARGE", "查询结果超过2行，请缩小范围"));
        assert!(cap.check_total(2, "x").is_ok() && cap.check_total(3, "x").is_err());
    }

    #[test]
    fn a_page_beyond_the_end_still_has_the_total() {
        let row = |place| (place, 5);
        let of = |page: Page, rows: Vec<(i64, i64)>| page.cut(rows, |r| r.0, |r| r.1);
        assert_eq!(of(Page::numbered(2, 2), vec![row(1), row(3), row(4)]), (vec![row(3), row(4)], 5));
        assert_eq!(of(Page::numbered(9, 2), vec![row(1)]), (vec![], 5));
        assert_eq!(of(Page::numbered(1, 2), vec![]), (vec![], 0));
    }

    #[test]
    fn pages_by_number_meet_without_gap() {
        assert_eq!(Page::numbered(1, 10), Page { first: 1, last: 10 });
        assert_eq!(Page::numbered(2, 10), Page { first: 11, last: 20 });
        assert_eq!(Page::numbered(1_000_000, 500).last, 500_000_000);
    }
}
