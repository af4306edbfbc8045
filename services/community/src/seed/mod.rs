//! Demo data: two communities to try, with well-known credentials. The same each time: nothing in
//! it is random or depends on today.
//!
//! It is made by the same rules and statements as the calls of clients, in one transaction: it is
//! there whole or not at all.

mod communities;

use anyhow::{Context, ensure};
use chrono::{DateTime, NaiveDate, TimeDelta, TimeZone, Utc};
use communal_kit::call::{Call, Tenant};
use communal_kit::clock::Clock;
use communal_kit::database;
use communal_kit::identity::store::{self, NewChannel};
use communal_kit::identity::{Proof, SealingKey, TenantKind};
use communal_kit::secret::Secret;
use communal_kit::write::announce;
use communal_proto::community::v1::{
    CreateBillRulesRequest, CreateFeesRequest, NewBillRule, NewFee, RegisterMeterReadingsRequest,
    RegisterPayerObjectsRequest,
};
use communal_proto::{Checked, Checker};
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::{PgConnection, PgPool};

use crate::fees::AdmittedRows;
use crate::fees::rules::GivenTerms;
use crate::payer_objects::readings;
use crate::payer_objects::settings::{self, Settings};
use crate::vocabulary::spans::{ChargedSpan, RowFields};
use crate::{bill_rules, fee_items, fees, payer_objects};
use communities::{Community, DemoItem};

/// The operator of the demo data.
pub const OPERATOR_ID: &str = "302023111900000001";
const OPERATOR_NAME: &str = "演示管理员";
/// The app that signs, and its secret.
pub const SIGNING_APP: (&str, &str) = ("demo-app", "SECRET123");
/// The app whose calls need the operator's token alone, as from HC's browser.
pub const OPEN_APP: &str = "micro-community";
/// The channel that administers credentials. Its secret is that of the app that signs.
const ADMINISTRATOR: &str = "demo-admin";

/// The advisory lock of loading: two loaders at once must not both find an empty database.
const LOCK: i64 = 7_304;

/// Loads the demo data, unless it is there already, and returns whether it did.
///
/// # Errors
/// Returns an error if other data is in its place, or the database fails.
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
    credentials(&mut transaction, &communities, sealing, clock.machine()).await?;
    database::note_demo_data(&mut transaction).await?;
    clock.admit_sandbox();
    for community in &communities {
        load(&mut transaction, community, &bar).await.with_context(|| format!("community {}", community.id))?;
    }
    transaction.commit().await?;
    bar.finish();
    // The tables have just become large; without this the first queries are planned for empty ones.
    sqlx::query("ANALYZE payer_object, owner, meter_reading, pay_fee_config, pay_fee, pay_fee_rule")
        .execute(pool)
        .await?;
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
        (app, "演示应用(签名)", Proof::Signature, Some(Secret::new(secret)), false),
        (OPEN_APP, "演示应用(浏览器)", Proof::None, None, false),
        (ADMINISTRATOR, "演示管理员", Proof::Signature, Some(Secret::new(secret)), true),
    ];
    for (channel_id, name, proof, key, admin) in apps {
        let tenant_ids = if admin { &[][..] } else { &ids };
        let new = NewChannel { channel_id, name, proof, admin, tenant_ids, methods: &[], key, valid_for: None };
        store::add_channel(connection, &new, Some(sealing), now).await?;
    }
    store::register_operator(connection, OPERATOR_ID, OPERATOR_NAME, &ids).await?;
    Ok(())
}

async fn load(connection: &mut PgConnection, community: &Community, bar: &ProgressBar) -> anyhow::Result<()> {
    let founded = Utc.with_ymd_and_hms(2023, 12, 1, 0, 0, 0).single().context("a date that exists")?;
    let tenant = Tenant { id: community.id.to_owned(), kind: TenantKind::Community };
    let call = Call {
        operator_id: OPERATOR_ID.into(),
        operator_name: OPERATOR_NAME.into(),
        channel_id: SIGNING_APP.0.into(),
        trace_id: "seed".into(),
        ..Call::internal(tenant, "seed", founded)
    };
    announce(connection, &call).await?;
    let rooms =
        RegisterPayerObjectsRequest { community_id: community.id.to_owned(), payer_objects: community.objects.clone() };
    accepted(&rooms, payer_objects::rules::of_register)?;
    payer_objects::store::upsert(connection, &call, &rooms.payer_objects).await?;
    if community.bill_mode {
        let settings = Settings { pay_fee_month: true, ..settings::store::lock(connection, &call).await? };
        settings::store::update(connection, &call, settings).await?;
    }
    bar.inc(1);
    for (number, item) in (1..).zip(&community.items) {
        let call = Call { at: founded + TimeDelta::hours(number), ..call.clone() };
        announce(connection, &call).await?;
        let terms = accepted(&item.request, fee_items::rules::of_save)?;
        fee_items::store::insert(connection, &call, Some(&item.config_id), &terms).await?;
        if !item.readings.is_empty() {
            let request =
                RegisterMeterReadingsRequest { community_id: community.id.to_owned(), readings: item.readings.clone() };
            let readings = accepted(&request, readings::rules::of_register)?;
            readings::store::upsert(connection, &call, &readings).await?;
        }
        bar.inc(1);
        charge(connection, &call, item, bar).await?;
    }
    Ok(())
}

/// Creates the fees and bill rules of an item.
async fn charge(connection: &mut PgConnection, call: &Call, item: &DemoItem, bar: &ProgressBar) -> anyhow::Result<()> {
    let (community_id, config_id) = (&call.tenant.id, &item.config_id);
    let terms = GivenTerms { amount: item.amount, rate_cycle: "12", rate: "0.05", rate_start_time: "2025-01-01" };
    for objects in &item.charged {
        let fee = |id: &String| NewFee {
            payer_obj_id: id.clone(),
            start_time: item.fees_from.into(),
            deadline_time: String::new(),
        };
        let request = CreateFeesRequest {
            community_id: community_id.clone(),
            config_id: config_id.clone(),
            fees: objects.iter().map(fee).collect(),
            amount: item.amount.into(),
            ..CreateFeesRequest::default()
        };
        let spans = accepted(&request, fees::rules::of_create)?;
        let rows = admitted(connection, call, config_id, &spans, fees::rules::FIELDS, terms).await?;
        let batch_id = fees::batches::store::create(connection, call, "").await?;
        fees::store::insert(connection, call, config_id, &batch_id, &rows).await?;
        bar.inc(1);
    }
    if !item.billed.is_empty() {
        let rule = |id: &String| NewBillRule {
            payer_obj_id: id.clone(),
            start_time: item.fees_from.into(),
            max_time: String::new(),
        };
        let request = CreateBillRulesRequest {
            community_id: community_id.clone(),
            config_id: config_id.clone(),
            rules: item.billed.iter().map(rule).collect(),
            amount: item.amount.into(),
        };
        let spans = accepted(&request, bill_rules::rules::of_create)?;
        let rows = admitted(connection, call, config_id, &spans, bill_rules::rules::FIELDS, terms).await?;
        let batch_id = fees::batches::store::create(connection, call, "").await?;
        let rule_ids = bill_rules::store::insert(connection, call, config_id, &batch_id, &rows).await?;
        // Two years of bills; a run makes those since.
        let until = NaiveDate::from_ymd_opt(2025, 12, 20).and_then(|day| day.and_hms_opt(0, 0, 0));
        bill_rules::run::make(connection, call, &rule_ids, until.context("a date that exists")?).await?;
        bar.inc(1);
    }
    Ok(())
}

/// The rows that an item admits, as for a call. Locks: the item.
async fn admitted(
    connection: &mut PgConnection,
    call: &Call,
    config_id: &str,
    spans: &[ChargedSpan],
    fields: RowFields,
    terms: GivenTerms<'_>,
) -> anyhow::Result<AdmittedRows> {
    let item = fee_items::store::lock_for_charging(connection, call, config_id).await?;
    let objects = payer_objects::store::known(connection, call, spans).await?;
    Ok(fees::rules::admit(item, objects, spans, fields, terms, false)?)
}

/// Checks a request by its field rules and reads it by those of the domain, as for a call.
fn accepted<M: Checked, T>(request: &M, read: impl FnOnce(&M, &mut Checker) -> Option<T>) -> anyhow::Result<T> {
    let mut checker = Checker::default();
    request.check(&mut checker);
    let value = read(request, &mut checker);
    let faults = checker.into_faults();
    ensure!(faults.is_empty(), "demo data breaks a rule: {faults:?}");
    value.context("a request without a fault can be read")
}
