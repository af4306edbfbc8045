//! Credentials: channels (systems) with their keys, operators (people), and tenants.
//!
//! The service itself authenticates each call from its metadata, so a direct gRPC call needs the same
//! credentials as REST. The answer to wrong credentials never says what is wrong with them; the log
//! does.

pub mod authenticator;
pub mod caller;
pub mod cli;
pub mod keys;
pub mod policy;
mod share;
pub mod signature;
pub mod store;
pub mod token;
pub mod vouching;

pub use authenticator::Authenticator;
pub use caller::Caller;
pub use communal_proto::identity::v1::{Proof, TenantKind};
pub use keys::SealingKey;
pub use policy::{Policy, Wording};
pub use share::ChannelShare;
pub use vouching::GatewayKeys;
