//! The schema and the statements can be distributed by tenant: every table's keys, unique indexes and foreign keys contain
//! the tenant, and every statement binds it. Read from the catalogue of PostgreSQL and from the query data; see
//! docs/scaling.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use communal_billing::MIGRATOR;
use communal_fixtures::TestDatabase;
use regex::Regex;
use sqlx::{AssertSqlSafe, PgPool, Row as _};

/// Returns true if a column holds a tenant. A receivable line has two companies; the network company's is the one by which
/// it is distributed.
fn is_tenant(column: &str) -> bool {
    column == "tenant_id" || column.ends_with("company_id")
}

/// Tables that belong to no tenant: a copy of each is on every node. They are small and change by administration.
const GLOBAL: &[(&str, &str)] = &[
    ("platform.tenant", "the list of tenants itself, named by every table"),
    ("platform.channel", "a system calls for several tenants"),
    ("platform.channel_key", "the keys of a channel"),
    ("platform.channel_tenant", "read by channel: for which tenants it may call"),
    ("platform.operator", "a person works for several tenants"),
    ("platform.operator_tenant", "read by operator: for which tenants he works"),
    ("platform.demo_data", "one row: that the database has demo data"),
    ("_sqlx_migrations", "the state of the schema"),
    ("_platform_migrations", "the state of the schema"),
];

/// Foreign keys from a row of one tenant to a row of another: they are checked by the service as well, and a
/// distributed database does without them.
const ACROSS: &[(&str, &str)] = &[
    ("month_control_network_company_id_network_store_id_fkey", "a retail company's month at a network company's store"),
    ("meter_point_network_company_id_network_store_id_fkey", "a retail company's account in a network company's area"),
    ("meter_point_network_company_id_node_id_fkey", "the same, at a node of the network company"),
    (
        "meter_point_retail_company_id_main_package_id_fkey",
        "a network company's account with a retail company's package",
    ),
    ("meter_point_temporary_company_id_temporary_package_id_fkey", "the same, for a temporary package"),
];

#[derive(Debug, sqlx::FromRow)]
struct Key {
    relation: String,
    name: String,
    columns: Vec<String>,
    referenced: Option<String>,
    referenced_columns: Option<Vec<String>>,
}

/// Unique indexes (with those of primary keys) and foreign keys. The partitions' own stand for those of the whole.
async fn keys(pool: &PgPool) -> Vec<Key> {
    sqlx::query_as(
        "SELECT i.indrelid::regclass::text AS relation, i.indexrelid::regclass::text AS name,
             ARRAY(SELECT coalesce(a.attname::text, '') FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
                   LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND a.attnum > 0
                   ORDER BY place) AS columns,
             NULL AS referenced, NULL::text[] AS referenced_columns
         FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
         WHERE (i.indisunique OR i.indisexclusion)
           AND c.relnamespace IN ('public'::regnamespace, 'platform'::regnamespace)
         UNION ALL
         SELECT f.conrelid::regclass::text, f.conname::text,
             ARRAY(SELECT a.attname::text FROM unnest(f.conkey) WITH ORDINALITY AS k (attnum, place)
                   JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.attnum ORDER BY place),
             f.confrelid::regclass::text,
             ARRAY(SELECT a.attname::text FROM unnest(f.confkey) WITH ORDINALITY AS k (attnum, place)
                   JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.attnum ORDER BY place)
         FROM pg_constraint f
         WHERE f.contype = 'f' AND f.connamespace IN ('public'::regnamespace, 'platform'::regnamespace)",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

fn is_global(table: &str) -> bool {
    GLOBAL.iter().any(|(global, _)| *global == table)
}

fn has_tenant(columns: &[String]) -> bool {
    columns.iter().any(|column| is_tenant(column))
}

#[tokio::test]
async fn every_key_contains_the_tenant() {
    let database = TestDatabase::create("billing", &MIGRATOR).await;
    let keys = keys(&database.pool).await;
    assert!(keys.len() > 60, "only {} keys were found", keys.len());
    let mut wrong = Vec::new();
    let mut across = BTreeSet::new();
    for Key { relation, name, columns, referenced, referenced_columns } in
        keys.iter().filter(|k| !is_global(&k.relation))
    {
        let to_global = referenced.as_deref().is_some_and(is_global);
        if to_global || has_tenant(columns) && referenced_columns.as_ref().is_none_or(|columns| has_tenant(columns)) {
            // Both sides have their tenant at the same place, or the row refers to another tenant's.
            let place = |columns: &[String]| columns.iter().position(|c| is_tenant(c));
            let same = referenced_columns.as_ref().is_none_or(|there| place(there) == place(columns));
            let foreign =
                referenced.is_some() && !to_global && !columns.iter().any(|c| tenant_of(&keys, relation) == *c);
            if foreign {
                across.insert(name.as_str());
            } else if !same {
                wrong.push(format!("{relation}: {name} {columns:?} → {referenced:?} {referenced_columns:?}"));
            }
        } else {
            wrong.push(format!("{relation}: {name} {columns:?} → {referenced:?} {referenced_columns:?}"));
        }
    }
    assert!(wrong.is_empty(), "without the tenant:\n{}", wrong.join("\n"));
    let known: BTreeSet<_> = ACROSS.iter().map(|(name, _)| *name).collect();
    assert_eq!(across, known, "foreign keys to other tenants");
    for (global, _) in GLOBAL {
        assert!(keys.iter().any(|key| key.relation == *global), "{global} does not exist");
    }
}

/// The column of a table's own tenant: the first of those that its primary key, or its first unique index, has.
fn tenant_of(keys: &[Key], relation: &str) -> String {
    let own = keys.iter().filter(|key| key.relation == relation && key.referenced.is_none());
    let mut columns = own.flat_map(|key| key.columns.iter()).filter(|c| is_tenant(c));
    columns.next().cloned().unwrap_or_default()
}

#[tokio::test]
async fn every_table_has_its_tenant_and_leads_with_it() {
    let database = TestDatabase::create("billing", &MIGRATOR).await;
    let tables: Vec<(String, Vec<String>)> = sqlx::query_as(
        "SELECT c.oid::regclass::text, ARRAY(SELECT a.attname::text FROM pg_attribute a
                                             WHERE a.attrelid = c.oid AND a.attnum > 0 ORDER BY a.attnum)
         FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace IN ('public'::regnamespace, 'platform'::regnamespace)",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let without: Vec<_> = tables
        .iter()
        .filter(|(table, columns)| !is_global(table) && !is_tenant(&columns[0]))
        .map(|(table, _)| table)
        .collect();
    assert_eq!(without, [""; 0], "do not lead with their tenant");
}

/// A statement of the query data binds the tenant if it compares a tenant column with a parameter, writes one into a row,
/// or joins on one that a parameter brings.
#[test]
fn every_statement_binds_its_tenant() {
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let files =
        |folder: &Path| -> Vec<_> { std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect() };
    let created = Regex::new(r"CREATE TABLE (\w+)").unwrap();
    let schema: Vec<_> = files(&migrations).iter().map(|path| read(path)).collect();
    let tables: BTreeSet<_> =
        schema.iter().flat_map(|sql| created.captures_iter(sql).map(|found| found[1].to_owned())).collect();
    let used = Regex::new(r"(?:FROM|JOIN|INTO|UPDATE)\s+(\w+)").unwrap();
    let tenant = r"\b(?:company_id|retail_company_id|network_company_id|tenant_id)\b";
    let bound = [
        format!(r"{tenant}\s*=\s*(?:ANY\()?\$\d"),
        format!(r"\bINSERT INTO \w+(?: AS \w+)?\s*\([^)]*?{tenant}"),
        format!(r"{tenant}\s*=\s*own\.{tenant}"),
    ]
    .map(|pattern| Regex::new(&pattern).unwrap());

    let mut unbound = BTreeMap::new();
    let mut judged = 0;
    for path in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx")) {
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let data: serde_json::Value = serde_json::from_str(&read(&path)).unwrap();
        let query = data["query"].as_str().unwrap();
        let of_tenants = used.captures_iter(query).any(|found| tables.contains(&found[1]));
        if of_tenants {
            judged += 1;
            if !bound.iter().any(|pattern| pattern.is_match(query)) {
                unbound.insert(path, query.to_owned());
            }
        }
    }
    assert!(judged > 60, "only {judged} statements were judged");
    assert!(unbound.is_empty(), "statements that do not bind their tenant: {unbound:#?}");
}

/// With sequential scans made dear, a statement scans a table whole only if no index leads to what it asks for. Plans are
/// generic, as those of prepared statements become.
#[tokio::test]
async fn no_statement_scans_a_table_of_tenants_whole() {
    let database = TestDatabase::create("billing", &MIGRATOR).await;
    let owner = PgPool::connect(&database.owner_url).await.unwrap();
    sqlx::raw_sql("SELECT open_account_month(202403), open_account_month(202404)").execute(&owner).await.unwrap();
    let mut connection = database.pool.acquire().await.unwrap();
    sqlx::raw_sql("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
        .execute(&mut *connection)
        .await
        .unwrap();
    let scanned = Regex::new(r"Seq Scan on (\w+)").unwrap();
    let mut whole = BTreeMap::new();
    let mut planned = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let data: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let query = data["query"].as_str().unwrap();
        let parameters = data["describe"]["parameters"]["Left"].as_array().map_or(0, Vec::len);
        let nulls = vec!["NULL"; parameters].join(", ");
        let execute = if nulls.is_empty() { "one".to_owned() } else { format!("one({nulls})") };
        let prepare = format!("DEALLOCATE ALL; PREPARE one AS {query}");
        sqlx::raw_sql(AssertSqlSafe(prepare))
            .execute(&mut *connection)
            .await
            .unwrap_or_else(|e| panic!("{query}: {e}"));
        let plan: Vec<String> = sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN EXECUTE {execute}")))
            .fetch_all(&mut *connection)
            .await
            .unwrap_or_else(|e| panic!("{query}: {e}"))
            .iter()
            .map(|row| row.get(0))
            .collect();
        planned += 1;
        let plan = plan.join("\n");
        let tables: Vec<_> = scanned.captures_iter(&plan).map(|found| found[1].to_owned()).collect();
        let tables: Vec<_> = tables.into_iter().filter(|table| !is_global(&format!("platform.{table}"))).collect();
        if !tables.is_empty() {
            whole.insert(query.to_owned(), plan);
        }
    }
    assert!(planned > 100, "only {planned} statements were planned");
    assert!(whole.is_empty(), "{} statements scan a table whole: {whole:#?}", whole.len());
}
