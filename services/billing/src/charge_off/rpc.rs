//! The methods of `ChargeOffService`.

use communal_kit::clock::Clock;
use communal_kit::objections::Objections;
use communal_kit::pool::Pool;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::Fault;
use communal_proto::billing::v1::charge_off_service_server::ChargeOffService;
use communal_proto::billing::v1::{ChargeOffRequest, ChargeOffResponse, PointToChargeOff, Reason};
use tonic::{Request, Response, Status};

use super::Settings;
use super::rules::{self, NamedPoint, at};
use super::store;

/// Serves charge-off.
#[derive(Clone, Debug)]
pub struct ChargeOffRpc {
    pool: Pool,
    clock: Clock,
    settings: Settings,
}

impl ChargeOffRpc {
    /// Serves charge-off in a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock, settings: Settings) -> Self {
        Self { pool, clock, settings }
    }
}

fn named(point: &PointToChargeOff) -> NamedPoint {
    (point.settlement_account_id.clone(), point.run_kind())
}

#[tonic::async_trait]
impl ChargeOffService for ChargeOffRpc {
    async fn charge_off(&self, request: Request<ChargeOffRequest>) -> Result<Response<ChargeOffResponse>, Status> {
        let (call, message, ()) = begin(request)?.accept_with(|message, checker| {
            for row in rules::repeated(&message.points) {
                checker.push(Fault::rule(at(row), "names a point that an earlier row names", "同一计费信息重复"));
            }
            Some(())
        })?;
        let today = self.clock.today();
        let reply = write(&self.pool, &call, &message, async |tx| {
            let names: Vec<_> = message.points.iter().map(named).collect();
            let found = store::standings(tx, &call, &names, today).await?;
            let (rows, objections) = rules::judge(&message.points, |point| found.standings.get(&named(point)).copied());
            objections.into_result()?;
            let mut objections = Objections::default();
            let mut points = Vec::with_capacity(rows.len());
            for row in rows {
                let Some(point) = names.get(row).and_then(|name| found.points.get(name)) else { continue };
                match point.hold(&self.settings.bounds) {
                    Ok(()) => points.push(point),
                    Err(bound) => {
                        objections.push(Reason::BillUnsafe, Fault::rule(at(row), bound.to_string(), bound.text()));
                    }
                }
            }
            objections.into_result()?;
            points.sort_by(|a, b| a.key.settlement_account_id.cmp(&b.key.settlement_account_id));
            let charged = store::charge_off(tx, &call, today, &self.settings, &points).await?;
            tracing::info!(bills = charged.bills, lines = charged.lines, "charged off");
            Ok(ChargeOffResponse {})
        });
        Ok(reply.await?)
    }
}
