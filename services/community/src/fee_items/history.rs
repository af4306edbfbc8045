//! The change history of fee items (费用项修改记录): who changed what, when; the image before
//! and after. Written with each change (see [`super::store`]) and never changed.

use chrono::{DateTime, Utc};
use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::database::Statement as _;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_proto::community::v1::QueryHisFeeConfigRequest;

use super::query::{ItemRow, item_of};
use crate::paging::Page;
use crate::vocabulary::times;

/// An image of an item.
#[derive(Debug)]
pub struct ImageRow {
    /// The item as it was.
    pub item: ItemRow,
    /// ADD: after the change; DEL: before.
    pub operate: String,
    /// Who made the change.
    pub operator_name: String,
    /// When.
    pub changed_at: DateTime<Utc>,
}

/// What a history asks for; empty and `None`: anything.
#[derive(Debug)]
pub struct Filter {
    config_id: String,
    name_part: String,
    operator_part: String,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
}

impl Filter {
    /// Reads what a history asks for. An end day is meant to its end.
    #[must_use]
    pub fn read(request: &QueryHisFeeConfigRequest, clock: &Clock) -> Self {
        // The end is a whole second, and changes are finer.
        let second = chrono::TimeDelta::seconds(1);
        Self {
            config_id: request.config_id.clone(),
            name_part: request.fee_name_like.clone(),
            operator_part: request.staff_name_like.clone(),
            from: times::start(&request.log_start_time).map(|t| clock.instant(t)),
            to: times::end(&request.log_end_time).map(|t| clock.instant(t) + second),
        }
    }
}

/// The images of a page, the newest change first and in it the image after it first, and how
/// many there are in all.
///
/// # Errors
/// Storage faults.
pub async fn list(pool: &Pool, call: &Call, filter: &Filter, page: Page) -> Result<(Vec<ImageRow>, i64), Refusal> {
    // As for items: the first row tells the total, and strpos takes the parts literally.
    let rows = sqlx::query!(
        r#"SELECT community_id, config_id, fee_type_cd, fee_name, fee_flag, start_time, end_time, computing_formula,
                  computing_formula_text, square_price, additional_amount, is_default, bill_type, payment_cd,
                  payment_cycle, deduct_from, pay_online, scale, decimal_place, units, prepayment_period, stopped,
                  deleted, operate, operator_name, changed_at, place AS "place!", total AS "total!"
           FROM (SELECT *, row_number() OVER (ORDER BY change_number DESC, operate) AS place,
                        count(*) OVER () AS total
                 FROM fee_item_image
                 WHERE community_id = $1
                   AND ($2 = '' OR config_id = $2)
                   AND ($3 = '' OR strpos(lower(fee_name), lower($3)) > 0)
                   AND ($4 = '' OR strpos(lower(operator_name), lower($4)) > 0)
                   AND ($5::timestamptz IS NULL OR changed_at >= $5)
                   AND ($6::timestamptz IS NULL OR changed_at < $6)) found
           WHERE place BETWEEN $7 AND $8 OR place = 1
           ORDER BY place"#,
        call.tenant.id,
        filter.config_id,
        filter.name_part,
        filter.operator_part,
        filter.from,
        filter.to,
        page.first,
        page.last,
    )
    .fetch_all(pool)
    .named("fee_item_history")
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let images = rows.into_iter().filter(|row| row.place >= page.first).map(|row| ImageRow {
        operate: row.operate.clone(),
        operator_name: row.operator_name.clone(),
        changed_at: row.changed_at,
        item: item_of!(row),
    });
    Ok((images.collect(), total))
}
