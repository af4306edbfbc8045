//! The REST codes of reasons for refusal.

use std::collections::HashMap;

use prost_reflect::DescriptorPool;

use super::{ContractError, Options, Owner};

/// CODE of EPEIS for a reason that has none of its own.
const EPEIS_FALLBACK: i32 = 9000;
/// `code` of HC for a reason that has none of its own: its general failure.
const HC_FALLBACK: &str = "404";

/// The codes of one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonCodes {
    /// CODE of the EPEIS envelope.
    pub epeis: i32,
    /// `code` of the HC envelope.
    pub hc: String,
}

impl Default for ReasonCodes {
    fn default() -> Self {
        Self { epeis: EPEIS_FALLBACK, hc: HC_FALLBACK.to_owned() }
    }
}

/// The reasons of every service, by error domain and name.
#[derive(Debug)]
pub struct Reasons {
    /// Those that every service has.
    common: HashMap<String, ReasonCodes>,
    own: HashMap<Owner, HashMap<String, ReasonCodes>>,
}

impl Reasons {
    pub(crate) fn compile(pool: &DescriptorPool, options: &Options) -> Result<Self, ContractError> {
        let table = |name: &str| -> Result<Option<HashMap<String, ReasonCodes>>, ContractError> {
            let Some(reasons) = pool.get_enum_by_name(name) else { return Ok(None) };
            let mut table = HashMap::new();
            for value in reasons.values().filter(|value| value.number() != 0) {
                let rules = options.reason(&value)?;
                let reason = value.name().strip_prefix("REASON_").unwrap_or(value.name()).to_owned();
                let epeis = if rules.epeis == 0 { EPEIS_FALLBACK } else { rules.epeis };
                let hc = if rules.hc.is_empty() { HC_FALLBACK.to_owned() } else { rules.hc };
                table.insert(reason, ReasonCodes { epeis, hc });
            }
            Ok(Some(table))
        };
        let common =
            table("communal.contract.v1.Reason")?.ok_or(ContractError::Undefined("communal.contract.v1.Reason"))?;
        let mut own = HashMap::new();
        for owner in Owner::ALL {
            if let Some(reasons) = table(&format!("{}.v1.Reason", owner.package()))? {
                own.insert(owner, reasons);
            }
        }
        Ok(Self { common, own })
    }

    /// The codes of a reason as named in `ErrorInfo`. A service's own reason takes precedence
    /// over the common one of that name.
    #[must_use]
    pub fn codes(&self, domain: &str, reason: &str) -> Option<&ReasonCodes> {
        Owner::ALL
            .into_iter()
            .find(|owner| owner.domain() == domain)
            .and_then(|owner| self.own.get(&owner))
            .and_then(|own| own.get(reason))
            .or_else(|| self.common.get(reason))
    }
}
