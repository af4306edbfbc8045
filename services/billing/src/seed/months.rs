//! The last months of the demo, which Communal bills itself: points are made, meters read and accounts billed by the code of
//! the calls and of the run.

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::dates::to_number;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::uploads::{UploadLimits, Uploads};
use communal_kit::write::run_as;
use communal_proto::billing::v1::{EnergyFlowType, NormalRetroType, ReadMetersRequest, Reason, RegisterReading};
use communal_proto::contract::v1::Reason as Common;
use futures::stream;

use super::ACCOUNTS_A_MESSAGE;
use super::lines::{Account, GRACE_DAYS};
use super::usage::{month_day, month_end, readings};
use crate::charge_off::Settings;
use crate::charge_off::bill::Bounds;
use crate::metering::points;
use crate::metering::points::rules::making;
use crate::metering::readings::import::{Terms as ReadingTerms, read_meters};
use crate::metering::readings::rules::ReadAt;
use crate::receivables::penalty::PenaltyRates;
use crate::runs::run::{Scope, Terms, run};
use crate::vocabulary::dates::AccountMonth;
use crate::vocabulary::movement::register_of;
use crate::vocabulary::tariff::ByUtility;
use crate::vocabulary::vacancy::VacancyRatios;

/// The time of the readings and of the run on the last day of a month, HHmmss.
const TIME: i32 = 180_000;

/// Bills the accounts of a company for a month, which is its place from the demo's first on. Accounts that are billed already
/// stay as they are.
pub(super) async fn bill(pool: &Pool, call: &Call, accounts: &[Account], month: u32) -> anyhow::Result<()> {
    let (account_month, today) = (AccountMonth::of(month_day(month)?), month_end(month)?);
    let mut to_read = Vec::with_capacity(accounts.len());
    for accounts in accounts.chunks(ACCOUNTS_A_MESSAGE) {
        to_read.extend(make_points(pool, call, accounts, today).await?);
    }
    if to_read.is_empty() {
        return Ok(());
    }
    let messages = to_read.chunks(ACCOUNTS_A_MESSAGE).map(|accounts| {
        let readings = accounts.iter().flat_map(|account| {
            readings(account, month + 1).into_iter().map(|(period, reading)| RegisterReading {
                meter_id: account.meter_id(),
                run_kind: NormalRetroType::Normal.into(),
                energy_flow: EnergyFlowType::Forward.into(),
                register: register_of(period).into(),
                reading: reading.to_string(),
                turn: 0,
            })
        });
        Ok(ReadMetersRequest { scope: None, readings: readings.collect() })
    });
    let messages: Vec<_> = messages.collect();
    let upload = Uploads::new("seed", UploadLimits::default()).begin(call)?;
    let terms = ReadingTerms { upload, at: ReadAt { day: to_number(today), time: TIME } };
    read_meters(pool, call, terms, stream::iter(messages)).await?;

    let scope = Scope { account_month: account_month.number(), book_id: String::new() };
    // With one worker the serials of bills are the same each time.
    let terms = Terms { settings: settings(), vacancy: VacancyRatios::default(), workers: 1, now: (today, TIME) };
    let done = run(pool, call, &scope, &terms, |_| true).await?;
    anyhow::ensure!(done.parked == 0, "{} accounts of the demo data could not be billed", done.parked);
    Ok(())
}

/// The settings of the run, whatever those of the process are: the demo data is the same each time.
fn settings() -> Settings {
    Settings {
        grace_days: ByUtility::all(GRACE_DAYS),
        bounds: Bounds::default(),
        penalty_rates: PenaltyRates::default(),
        auto_draw: true,
    }
}

/// Makes the points of accounts that are not billed in the month that is open, and returns these accounts.
async fn make_points(pool: &Pool, call: &Call, accounts: &[Account], today: NaiveDate) -> anyhow::Result<Vec<Account>> {
    let named: Vec<_> = accounts.iter().map(|account| (account.id(), account)).collect();
    let made = run_as(pool, call, async |tx| {
        let ids: Vec<_> = named.iter().map(|(id, _)| id.as_str()).collect();
        let Some(basis) = points::store::basis(tx, call, &ids, today).await? else {
            return Err(Refusal::of(Common::Conflict));
        };
        let (mut makings, mut made) = (Vec::with_capacity(ids.len()), Vec::with_capacity(ids.len()));
        for (id, account) in &named {
            let standing = basis.standing(id).ok_or_else(|| Refusal::of(Reason::SettlementAccountNotFound))?;
            match making(standing, id.as_str()) {
                Ok(making) => {
                    makings.push((id.as_str(), making));
                    made.push((*account).clone());
                }
                // By a load that was interrupted.
                Err((Reason::AccountChargedOff, _)) => {}
                Err((reason, fault)) => return Err(Refusal::of(reason).fault(fault)),
            }
        }
        points::store::make(tx, call, &basis, &makings).await?;
        Ok(made)
    });
    Ok(made.await?)
}
