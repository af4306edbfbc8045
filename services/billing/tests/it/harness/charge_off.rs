//! Calculations of the tests, and the calls that charge them off.

use communal_billing::calculation::stored::{Calculation, Terms};
use communal_billing::rating::bill::{Bill, FeeLine, LineRule, Quantities, Warnings};
use communal_billing::rating::facts::Accumulators;
use communal_billing::vocabulary::dates::{AccountMonth, day};
use communal_billing::vocabulary::tariff::{Period, Season, Tier};
use communal_proto::billing::v1::*;
use prost::Message as _;
use rust_decimal::Decimal;
use tonic::Status;

use super::{Caller, World};

/// A bill of energy lines, each a quantity, a price and a fee, and what was billed before it.
pub fn bill_of(before: &str, lines: &[(&str, &str, &str)]) -> Bill {
    let decimal = |text: &str| text.parse::<Decimal>().unwrap();
    let tiers = [Tier::First, Tier::Second, Tier::Third, Tier::Fourth, Tier::Fifth];
    let lines: Vec<_> = lines
        .iter()
        .zip(tiers)
        .map(|((quantity, price, fee), tier)| FeeLine {
            kind: CalcFeeType::Retail,
            category_item: 101,
            surcharge_item: 0,
            season: Season::Flat,
            period: Period::Whole,
            tier,
            start: day(20_240_101),
            version: None,
            quantity: decimal(quantity),
            price: decimal(price),
            fee: decimal(fee),
            rule: LineRule::Energy { part: None, share: None },
        })
        .collect();
    let energy = lines.iter().map(|line| line.quantity).sum();
    let last = AccountMonth::read(202_403);
    let before = Accumulators { last, year: decimal(before), month: Decimal::ZERO };
    Bill {
        kind: CalcFeeType::Retail,
        total: lines.iter().map(|line| line.fee).sum(),
        lines,
        delivery_total: Decimal::ZERO,
        quantities: Quantities { energy, ..Quantities::default() },
        before,
        after: Accumulators { last, year: before.year + energy, month: energy },
        warnings: Warnings::default(),
    }
}

impl World {
    /// Gives an account's open point of a kind the calculation of a bill, by the accumulators that are there.
    pub async fn calculated_as(&self, account: &str, kind: NormalRetroType, bill: &Bill) {
        let used: i32 =
            sqlx::query_scalar("SELECT temporary_months_used FROM meter_point WHERE settlement_account_id = $1")
                .bind(account)
                .fetch_one(self.pool())
                .await
                .unwrap();
        let terms = Terms {
            calculated: (day(20_240_315).unwrap(), 93_000),
            priced_on: day(20_240_315).unwrap(),
            temporary: false,
            temporary_months_used: used,
            accumulator_version: self.accumulator_version(account).await,
        };
        let calculation = Calculation::of(bill, &terms).unwrap().encode_to_vec();
        sqlx::query(
            "INSERT INTO point_calculation (company_id, settlement_account_id, account_month, kind, number, calculation,
                 operator_id, channel_id, trace_id, written_at)
             SELECT company_id, settlement_account_id, account_month, kind, number, $3, '', '', '', now()
             FROM point_open WHERE settlement_account_id = $1 AND kind = $2
             ON CONFLICT (company_id, settlement_account_id, account_month, kind, number)
                 DO UPDATE SET calculation = excluded.calculation",
        )
        .bind(account)
        .bind(communal_proto::Coded::code(kind))
        .bind(calculation)
        .execute(self.pool())
        .await
        .unwrap();
    }

    async fn accumulator_version(&self, account: &str) -> i64 {
        sqlx::query(
            "INSERT INTO account_accumulator (company_id, settlement_account_id)
             SELECT company_id, settlement_account_id FROM settlement_account WHERE settlement_account_id = $1
             ON CONFLICT DO NOTHING",
        )
        .bind(account)
        .execute(self.pool())
        .await
        .unwrap();
        let statement = "SELECT version FROM account_accumulator WHERE settlement_account_id = $1";
        sqlx::query_scalar(statement).bind(account).fetch_one(self.pool()).await.unwrap()
    }

    /// Opens a retro point of an account.
    pub async fn retro_point(&self, account: &str, number: i32) {
        let statement = sqlx::AssertSqlSafe(format!(
            "WITH normal AS (SELECT * FROM billing_point WHERE settlement_account_id = '{account}' AND kind = '1' LIMIT 1),
             point AS (
                 INSERT INTO billing_point (company_id, settlement_account_id, account_month, kind, number, final, snapshot,
                     operator_id, channel_id, trace_id, written_at)
                 SELECT company_id, settlement_account_id, account_month, '2', {number}, false, snapshot, '', '', '', now()
                 FROM normal)
             INSERT INTO point_open (company_id, settlement_account_id, kind, account_month, number, book_id, reading_order,
                 registers)
             SELECT n.company_id, n.settlement_account_id, '2', n.account_month, {number}, m.book_id, 0, 0
             FROM normal n JOIN meter_point m USING (company_id, settlement_account_id)"
        ));
        sqlx::query(statement).execute(self.pool()).await.unwrap();
    }

    /// Charges points off.
    pub async fn charge_off(&self, by: Caller, points: &[(&str, NormalRetroType)]) -> Result<(), Status> {
        let point = |(id, kind): &(&str, NormalRetroType)| PointToChargeOff {
            settlement_account_id: (*id).into(),
            run_kind: (*kind).into(),
        };
        let request = ChargeOffRequest { points: points.iter().map(point).collect() };
        self.charge_offs(by).charge_off(request).await.map(drop)
    }

    /// The entries of the ledger, as "fund entry kind previous debit credit balance", by customer, fund and entry.
    pub async fn entries(&self) -> Vec<String> {
        let statement = "SELECT concat_ws(' ', fund, entry, business_kind, previous, debit, credit, balance)
             FROM ledger ORDER BY customer_id, fund, entry";
        sqlx::query_scalar(statement).fetch_all(self.pool()).await.unwrap()
    }

    /// Gives a customer available funds, as a deposit does.
    pub async fn deposit(&self, customer_id: &str, amount: &str) {
        let statement = sqlx::AssertSqlSafe(format!(
            "WITH posting AS (
                 INSERT INTO posting (company_id, posting_id, operation_date, revenue, cash, operator_id, channel_id,
                     trace_id, written_at)
                 SELECT company_id, nextval('posting_number'), '2024-03-01', 0, {amount}, '', '', '', now()
                 FROM customer WHERE customer_id = '{customer_id}' RETURNING *),
             fund AS (
                 INSERT INTO balance (company_id, customer_id, fund, entry, balance)
                 SELECT company_id, '{customer_id}', '1', 1, {amount} FROM posting)
             INSERT INTO ledger (company_id, customer_id, fund, entry, account_month, posting_id, operation_date, serial,
                 business_kind, previous, debit, credit, balance)
             SELECT company_id, '{customer_id}', '1', 1, 202403, posting_id, operation_date, 'C1', '4', 0, 0, {amount}, {amount}
             FROM posting"
        ));
        sqlx::query(statement).execute(self.pool()).await.unwrap();
    }
}
