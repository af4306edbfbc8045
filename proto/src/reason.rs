//! Reasons for refusal: the enums `Reason` of the contract, with everything that follows from
//! a reason.

use tonic::Code;

/// A reason for refusal. It is declared in the contract, and its implementation is generated.
pub trait Reason: Copy {
    /// The stable name that clients see in `ErrorInfo.reason`, like `PACKAGE_STATE`.
    fn name(self) -> &'static str;
    /// The domain that clients see in `ErrorInfo.domain`.
    fn domain(self) -> &'static str;
    /// The gRPC code.
    fn grpc(self) -> Code;
    /// What the reason means, in English: its comment in the contract.
    fn meaning(self) -> &'static str;
    /// The message for people, in Chinese, where there is no more exact one.
    fn text(self) -> &'static str;
}
