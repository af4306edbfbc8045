//! Plans of the documented interfaces, compiled once from the descriptors of the contract.
//!
//! A method with the option `route` becomes a [`Route`]; its request and reply become
//! [`MessagePlan`]s that the transcoder follows. Nothing else knows a shape, so an interface
//! is added by adding it to the contract. A shape that the transcoder cannot serve faithfully
//! (a float, a map, a message inside itself) is refused when the process starts, and not when
//! a client calls.

mod error;
mod messages;
mod options;
mod reasons;
mod routes;

pub use error::ContractError;
pub use messages::{CodePlan, FieldPlan, Kind, MessageId, MessagePlan, Plans};
pub use reasons::{ReasonCodes, Reasons};
pub use routes::{Owner, Route};

pub(crate) use options::Options;

use prost_reflect::DescriptorPool;

/// Everything compiled from one descriptor set.
#[derive(Debug)]
pub struct Contract {
    pool: DescriptorPool,
    plans: Plans,
    routes: Vec<Route>,
    reasons: Reasons,
}

impl Contract {
    /// Compiles the contract of this build.
    ///
    /// # Errors
    /// Returns the first element of the contract that cannot be served.
    pub fn load() -> Result<Self, ContractError> {
        Self::compile(communal_proto::FILE_DESCRIPTOR_SET)
    }

    /// Compiles a contract from an encoded `FileDescriptorSet` that kept its options.
    ///
    /// # Errors
    /// Returns the first element of the contract that cannot be served.
    pub fn compile(descriptor_set: &[u8]) -> Result<Self, ContractError> {
        let pool = DescriptorPool::decode(descriptor_set).map_err(ContractError::Descriptors)?;
        let options = Options::new(&pool)?;
        let mut plans = messages::Compiler::new(&options);
        let routes = routes::compile(&pool, &options, &mut plans)?;
        let plans = plans.finish();
        let reasons = Reasons::compile(&pool, &options)?;
        Ok(Self { pool, plans, routes, reasons })
    }

    /// The message plans that [`Route`]s point into.
    #[must_use]
    pub fn plans(&self) -> &Plans {
        &self.plans
    }

    /// The routes in the order of the contract.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The REST codes of refusals.
    #[must_use]
    pub fn reasons(&self) -> &Reasons {
        &self.reasons
    }

    /// The descriptors themselves, comments included.
    #[must_use]
    pub fn pool(&self) -> &DescriptorPool {
        &self.pool
    }
}

#[cfg(test)]
mod tests;
