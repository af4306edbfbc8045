//! Applications for business processes, read from the request. Pure.

use communal_proto::billing::v1::fields::business_application as fields;
use communal_proto::billing::v1::fields::sup_apply_business_request::APPLICATIONS;
use communal_proto::billing::v1::{BusCategType, BusinessApplication};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Coded as _, Fault, FieldName, Rule};

use crate::vocabulary::identifiers::{SettlementAccountId, UserAccountId};
use crate::vocabulary::tariff::Utility;

/// A new connection: the settlement account to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its place in the request.
    pub row: usize,
    /// The user account.
    pub user_account_id: UserAccountId,
    /// The utility.
    pub utility: Utility,
    /// The name of the settlement account.
    pub name: String,
    /// Its address.
    pub address: String,
}

/// A process of an account that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its place in the request.
    pub row: usize,
    /// Its kind.
    pub kind: BusCategType,
    /// The account.
    pub settlement_account_id: SettlementAccountId,
    /// The user account that a transfer leads to.
    pub new_user_account_id: Option<UserAccountId>,
}

/// The applications of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applications {
    /// New connections.
    pub connections: Vec<Connection>,
    /// Processes of accounts that exist.
    pub processes: Vec<Process>,
}

impl Applications {
    /// Reads a request; what an application lacks goes to the checker.
    pub fn read(given: &[BusinessApplication], checker: &mut Checker) -> Self {
        let mut applications = Self::default();
        for (row, given) in given.iter().enumerate() {
            let mut need = |is_given: bool, field: FieldName, title: &str| {
                if !is_given {
                    let field = APPLICATIONS.at(row).then(field);
                    let kind = given.business_kind();
                    let text = format!("{}时{title}必传", kind.title());
                    let description = format!("is required for process {}", kind.code());
                    checker.push(Fault { field, kind: FaultKind::Missing, description, text });
                }
            };
            let (user, account) = (&given.user_account_id, &given.settlement_account_id);
            match given.business_kind() {
                // The field rules refuse it.
                BusCategType::Unspecified => {}
                BusCategType::New => {
                    need(!user.is_empty(), fields::USER_ACCOUNT_ID, "用户账户ID");
                    need(given.utility() != Utility::Unspecified, fields::UTILITY, "管网类型");
                    let name = &given.settlement_account_name;
                    need(!name.is_empty(), fields::SETTLEMENT_ACCOUNT_NAME, "结算户姓名");
                    need(!given.address.is_empty(), fields::ADDRESS, "结算户地址");
                    applications.connections.push(Connection {
                        row,
                        user_account_id: user.as_str().into(),
                        utility: given.utility(),
                        name: name.clone(),
                        address: given.address.clone(),
                    });
                }
                BusCategType::Retro => {
                    let (text, field) = ("业务类别不能为特殊追补", APPLICATIONS.at(row).then(fields::BUSINESS_KIND));
                    let description = "is 13, which nobody applies for".to_owned();
                    checker.push(Fault { field, kind: FaultKind::Code, description, text: text.to_owned() });
                }
                kind => {
                    need(!account.is_empty(), fields::SETTLEMENT_ACCOUNT_ID, "结算账户ID");
                    let is_transfer = kind == BusCategType::Transfer;
                    need(!is_transfer || !user.is_empty(), fields::USER_ACCOUNT_ID, "用户账户ID");
                    applications.processes.push(Process {
                        row,
                        kind,
                        settlement_account_id: account.as_str().into(),
                        new_user_account_id: is_transfer.then(|| user.as_str().into()),
                    });
                }
            }
        }
        // An account has one process at a time; a connection has none yet.
        let of_process = |given: &BusinessApplication| match given.business_kind() {
            BusCategType::New | BusCategType::Retro | BusCategType::Unspecified => String::new(),
            _ => given.settlement_account_id.clone(),
        };
        let accounts: Vec<_> = given.iter().map(of_process).collect();
        let rule = Rule { field: APPLICATIONS, ..Rule::ANY };
        checker.unique(&rule, fields::SETTLEMENT_ACCOUNT_ID, "结算账户ID", accounts.iter());
        applications
    }

    /// The user accounts that the applications name, with their places.
    pub fn user_accounts(&self) -> impl Iterator<Item = (usize, &UserAccountId)> {
        let of_connections = self.connections.iter().map(|c| (c.row, &c.user_account_id));
        of_connections.chain(self.processes.iter().filter_map(|p| Some((p.row, p.new_user_account_id.as_ref()?))))
    }

    /// What was opened for the connections and for the processes, in the order of the request.
    #[must_use]
    pub fn in_order<T>(&self, of_connections: Vec<T>, of_processes: Vec<T>) -> Vec<T> {
        let connections = self.connections.iter().map(|c| c.row).zip(of_connections);
        let processes = self.processes.iter().map(|p| p.row).zip(of_processes);
        let mut opened: Vec<_> = connections.chain(processes).collect();
        opened.sort_by_key(|(row, _)| *row);
        opened.into_iter().map(|(_, of)| of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(application: BusinessApplication) -> Vec<String> {
        let mut checker = Checker::default();
        Applications::read(&[application], &mut checker);
        checker.into_faults().into_iter().map(|f| f.field.to_string().replace("SETTLE_ACCOUNT[0].", "")).collect()
    }

    #[test]
    fn an_application_needs_what_its_kind_needs() {
        let of = |kind: BusCategType| BusinessApplication { business_kind: kind.into(), ..Default::default() };
        let all = ["USER_ACCOUNT_AID", "NETWORK_TYPE", "SETTLEMENT_NAME", "ADDRESS"];
        assert_eq!(faults(of(BusCategType::New)), all);
        for kind in [BusCategType::Change, BusCategType::MeterSwap, BusCategType::Close] {
            assert_eq!(faults(of(kind)), ["SETTLEMENT_AID"], "{kind:?}");
        }
        assert_eq!(faults(of(BusCategType::Transfer)), ["SETTLEMENT_AID", "USER_ACCOUNT_AID"]);
        assert_eq!(faults(of(BusCategType::Retro)), ["BUS_CATEG_TYPE"]);
    }

    #[test]
    fn an_account_comes_once() {
        let of = |account: &str, kind: BusCategType| BusinessApplication {
            settlement_account_id: account.into(),
            business_kind: kind.into(),
            ..Default::default()
        };
        let rows = [of("A1", BusCategType::Change), of("A2", BusCategType::Change), of("A1", BusCategType::Close)];
        let mut checker = Checker::default();
        Applications::read(&rows, &mut checker);
        let told: Vec<_> = checker.into_faults().into_iter().map(|f| f.field.to_string()).collect();
        assert_eq!(told, ["SETTLE_ACCOUNT[2].SETTLEMENT_AID"]);
    }
}
