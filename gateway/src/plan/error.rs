//! Errors of a contract that cannot be served.

/// An error of the contract, found when it is compiled.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// The bytes are no descriptor set.
    #[error("the descriptor set cannot be read")]
    Descriptors(#[source] prost_reflect::DescriptorError),
    /// The descriptor set was stripped of the options, or is another one.
    #[error("the descriptor set does not define the option or enum {0}")]
    Undefined(&'static str),
    /// An option has another shape than this build knows.
    #[error("an option of {element} cannot be read")]
    Option {
        /// Full name of what carries the option.
        element: String,
        /// The decoder's error.
        #[source]
        source: prost::DecodeError,
    },
    /// A message, field or enum that the transcoder does not serve.
    #[error("{element}: {problem}")]
    Shape {
        /// Full name of the element.
        element: String,
        /// The problem.
        problem: String,
    },
    /// A method whose route cannot be served.
    #[error("the route of {method}: {problem}")]
    Route {
        /// Full name of the method.
        method: String,
        /// The problem.
        problem: String,
    },
}

impl ContractError {
    pub(crate) fn shape(element: &str, problem: impl Into<String>) -> Self {
        Self::Shape { element: element.to_owned(), problem: problem.into() }
    }

    pub(crate) fn route(method: &str, problem: impl Into<String>) -> Self {
        Self::Route { method: method.to_owned(), problem: problem.into() }
    }
}
