//! Pages by number in requests and replies (SYS_PAGE).

use communal_kit::paging::Page;
use communal_proto::billing::v1::{NextYesNo, PageReply, PageRequest};

/// The page that a request asks for.
#[derive(Clone, Copy, Debug)]
pub struct AskedPage {
    asked: PageRequest,
    /// The places of its rows.
    pub page: Page,
}

impl AskedPage {
    /// Reads the page of a request; the field rules require it.
    #[must_use]
    pub fn read(asked: Option<PageRequest>) -> Self {
        let asked = asked.unwrap_or_default();
        Self { asked, page: Page::numbered(asked.page, asked.rows) }
    }

    /// The rows of the page, out of all there are, and their number.
    #[must_use]
    pub fn page_of<T>(self, all: Vec<T>) -> (Vec<T>, i64) {
        let total = i64::try_from(all.len()).unwrap_or(i64::MAX);
        let number = |count: i64| usize::try_from(count).unwrap_or(usize::MAX);
        let rows = all.into_iter().skip(number(self.page.offset())).take(number(self.page.rows()));
        (rows.collect(), total)
    }

    /// The page of a reply, out of so many rows.
    #[must_use]
    pub fn reply(self, total: i64) -> Option<PageReply> {
        let next = if self.page.has_next(total) { NextYesNo::More } else { NextYesNo::None };
        Some(PageReply { page: self.asked.page, rows: self.asked.rows, next: next.into(), total })
    }
}
