//! Pages of fees and bill rules, read through their views.
//!
//! The statement is put together from the filters that are given, because one statement for
//! all of them ("$2 = '' OR config_id = $2") hides from the planner that an index has the
//! rows in order, and a page then costs a sort of everything.

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_proto::Coded;
use communal_proto::community::v1::FeeState;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Postgres, QueryBuilder};

use crate::paging::KeyPage;

/// A view, and its key.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// `SELECT … FROM … WHERE community_id = `
    pub select: &'static str,
    /// The column by which pages are ordered.
    pub key: &'static str,
    /// Name of the statement in traces and metrics.
    pub name: &'static str,
}

/// What a list asks for; empty: anything.
#[derive(Clone, Copy, Debug)]
pub struct Filter<'a> {
    /// Fee item.
    pub config_id: &'a str,
    /// Payer object.
    pub payer_obj_id: &'a str,
    /// State.
    pub state: FeeState,
}

/// The rows of a page, by key.
///
/// # Errors
/// Storage faults.
pub async fn page<R>(
    pool: &Pool,
    call: &Call,
    view: View,
    filter: Filter<'_>,
    page: &KeyPage,
) -> Result<Vec<R>, Refusal>
where
    R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let mut query = QueryBuilder::<Postgres>::new(view.select);
    query.push_bind(&call.tenant.id);
    if !filter.config_id.is_empty() {
        query.push(" AND config_id = ").push_bind(filter.config_id);
    }
    if !filter.payer_obj_id.is_empty() {
        query.push(" AND payer_obj_id = ").push_bind(filter.payer_obj_id);
    }
    match filter.state {
        FeeState::Unspecified => {}
        // Written so that the planner takes it for a third of the rows. It cannot know how many
        // items were stopped, and taking them for few it would sort all the rest for a page.
        FeeState::Ended => {
            query.push(" AND is_open::int < 1");
        }
        FeeState::NotStarted | FeeState::Charging => {
            query.push(" AND is_open AND own_state = ").push_bind(filter.state.code());
        }
    }
    query.push(" AND ").push(view.key).push(" > ").push_bind(&page.after);
    query.push(" ORDER BY ").push(view.key).push(" LIMIT ").push_bind(page.limit());
    let rows = query.build_query_as().fetch_all(pool).named(view.name).await?;
    Ok(rows)
}
