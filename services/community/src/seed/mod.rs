//! Demo data: two communities as a newcomer can try them, with well-known credentials. The
//! same each time: nothing in it is random or depends on today.
//!
//! It is written by the same checks and the same store code as the calls of clients, in one
//! transaction: it is there whole or not at all.

mod communities;

use anyhow::{Context, ensure};
use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use communal_kit::call::Call;
use communal_kit::call::Tenant;
use communal_kit::clock::Clock;
use communal_kit::identity::store::{self, NewChannel};
use communal_kit::identity::{Proof, SealingKey, TenantKind};
use communal_kit::secret::Secret;
use communal_proto::community::v1::{
    CreateBillRulesRequest, CreateFeesRequest, NewBillRule, NewFee, RegisterPayerObjectsRequest,
};
use communal_proto::{Checked, Checker};
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::{PgConnection, PgPool};

use crate::fee_items::rules;
use crate::vocabulary::periods::{self, Row};
use crate::{bill_rules, fee_items, fees, payer_objects};
use communities::{Community, DemoItem};

/// The operator of the demo data.
pub const OPERATOR_ID: &str = "302023111900000001";
const OPERATOR_NAME: &str = "演示管理员";
/// The app that signs, and its secret.
pub const SIGNING_APP: (&str, &str) = ("demo-app", "SECRET123");
/// The app that the operator's token alone speaks for, as in HC's browser.
pub const OPEN_APP: &str = "micro-community";

/// Two loaders at once must not both find nothing.
const LOCK: i64 = 7_304;

/// Loads the demo data; false where it is there already.
///
/// # Errors
/// Where something of another origin is in its place, or the database fails.
pub async fn demo(pool: &PgPool, sealing: &SealingKey, clock: &Clock) -> anyhow::Result<bool> {
    let mut transaction = pool.begin().await.context("the database does not answer")?;
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", LOCK).execute(&mut *transaction).await?;
    let operators = store::operators(pool).await?;
    if operators.iter().any(|operator| operator.operator_id == OPERATOR_ID) {
        return Ok(false);
    }
    let communities = communities::all();
    let steps: usize = communities.iter().map(|c| 1 + c.items.iter().map(|i| 1 + i.uses()).sum::<usize>()).sum();
    let style = ProgressStyle::with_template("community demo data {bar:40} {pos}/{len} {elapsed}")?;
    let bar = ProgressBar::new(u64::try_from(steps)?).with_style(style);
    credentials(&mut transaction, &communities, sealing, clock.now()).await?;
    for community in &communities {
        load(&mut transaction, community, &bar).await.with_context(|| format!("community {}", community.id))?;
    }
    transaction.commit().await?;
    bar.finish();
    // The tables have just become large; without this the first queries are planned for empty ones.
    sqlx::query("ANALYZE payer_object, pay_fee_config, pay_fee, pay_fee_rule").execute(pool).await?;
    Ok(true)
}

async fn credentials(
    connection: &mut PgConnection,
    communities: &[Community],
    sealing: &SealingKey,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let ids: Vec<String> = communities.iter().map(|c| c.id.to_owned()).collect();
    for community in communities {
        store::register_tenant(connection, community.id, TenantKind::Community, community.name).await?;
    }
    let (app, secret) = SIGNING_APP;
    let apps = [
        (app, "演示应用(签名)", Proof::Signature, Some(Secret::new(secret))),
        (OPEN_APP, "演示应用(浏览器)", Proof::None, None),
    ];
    for (channel_id, name, proof, key) in apps {
        let new =
            NewChannel { channel_id, name, proof, admin: false, tenant_ids: &ids, methods: &[], key, valid_for: None };
        store::add_channel(connection, &new, Some(sealing), now).await?;
    }
    store::register_operator(connection, OPERATOR_ID, OPERATOR_NAME, &ids).await?;
    Ok(())
}

async fn load(connection: &mut PgConnection, community: &Community, bar: &ProgressBar) -> anyhow::Result<()> {
    let call = Call {
        tenant: Tenant { id: community.id.to_owned(), kind: TenantKind::Community },
        operator_id: OPERATOR_ID.into(),
        operator_name: OPERATOR_NAME.into(),
        channel_id: SIGNING_APP.0.into(),
        request_id: None,
        trace_id: "command-line".to_owned(),
        method: "seed".into(),
        at: Utc::now(),
    };
    let founded = Utc.with_ymd_and_hms(2023, 12, 1, 0, 0, 0).single().context("a date that exists")?;
    let rooms =
        RegisterPayerObjectsRequest { community_id: community.id.to_owned(), payer_objects: community.rooms.clone() };
    accepted(&rooms, |_| ())?;
    payer_objects::store::register_in(connection, &call, &rooms, founded).await?;
    bar.inc(1);
    for (number, item) in (1..).zip(&community.items) {
        let at = founded + TimeDelta::hours(number);
        let terms = accepted(&item.request, |checker| rules::of_save(&item.request, checker))?;
        let terms = terms.context("an accepted item has terms")?;
        fee_items::store::insert(&mut *connection, &call, None, Some(&item.config_id), &terms, at).await?;
        bar.inc(1);
        charge(connection, &call, item, at, bar).await?;
    }
    Ok(())
}

/// Creates the fees and bill rules of an item.
async fn charge(
    connection: &mut PgConnection,
    call: &Call,
    item: &DemoItem,
    at: DateTime<Utc>,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let row = |payer_obj_id| Row { payer_obj_id, start: item.fees_from, end: "" };
    for objects in &item.charged {
        let request = CreateFeesRequest {
            community_id: call.tenant.id.clone(),
            config_id: item.config_id.clone(),
            fees: objects
                .iter()
                .map(|id| NewFee {
                    payer_obj_id: id.clone(),
                    start_time: item.fees_from.into(),
                    deadline_time: String::new(),
                })
                .collect(),
        };
        let rows = objects.iter().map(|id| row(id));
        let periods = accepted(&request, |checker| periods::read(rows, fees::NAMES, checker))?;
        fees::store::create_in(&mut *connection, call, &request, &periods, at).await?;
        bar.inc(1);
    }
    if !item.billed.is_empty() {
        let request = CreateBillRulesRequest {
            community_id: call.tenant.id.clone(),
            config_id: item.config_id.clone(),
            rules: item
                .billed
                .iter()
                .map(|id| NewBillRule {
                    payer_obj_id: id.clone(),
                    start_time: item.fees_from.into(),
                    max_time: String::new(),
                })
                .collect(),
        };
        let rows = item.billed.iter().map(|id| row(id));
        let periods = accepted(&request, |checker| periods::read(rows, bill_rules::NAMES, checker))?;
        bill_rules::store::create_in(connection, call, &request, &periods, at).await?;
        bar.inc(1);
    }
    Ok(())
}

/// Checks a request by its field rules and those of the domain, as a call's would be.
fn accepted<T>(request: &impl Checked, rules: impl FnOnce(&mut Checker) -> T) -> anyhow::Result<T> {
    let mut checker = Checker::default();
    request.check(&mut checker);
    let read = rules(&mut checker);
    let faults = checker.into_faults();
    ensure!(faults.is_empty(), "demo data breaks a rule: {faults:?}");
    Ok(read)
}
