//! Computes a formula in decimals. A failure is an error and never an amount of 0, which would be
//! billed.

use rust_decimal::Decimal;

use super::{Expression, FormulaError, FormulaFault, Node, Operation, Tree, Variable};

/// The fault of a computation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvaluationFault {
    /// The payer object has no value for this variable.
    Missing(Variable),
    /// Something was divided by zero.
    DivisionByZero,
    /// A number does not fit into 28 digits.
    Overflow,
    /// The amount is negative.
    Negative(Decimal),
}

/// The error of a formula without an amount, with its place in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} at character {position}", match .fault {
    EvaluationFault::Missing(variable) => format!("no value for {variable}"),
    EvaluationFault::DivisionByZero => "division by zero".to_owned(),
    EvaluationFault::Overflow => "the number is too large".to_owned(),
    EvaluationFault::Negative(amount) => format!("the amount is negative ({amount})"),
})]
pub struct EvaluationError {
    /// Position of the operator or variable, in characters from 1.
    pub position: usize,
    /// The fault.
    pub fault: EvaluationFault,
}

impl EvaluationError {
    /// The error in Chinese.
    #[must_use]
    pub fn text(&self) -> String {
        let what = match &self.fault {
            EvaluationFault::Missing(variable) => format!("{variable}没有取值"),
            EvaluationFault::DivisionByZero => "除数为零".to_owned(),
            EvaluationFault::Overflow => "数值过大".to_owned(),
            EvaluationFault::Negative(amount) => format!("计算结果为负数({amount})"),
        };
        format!("公式第{}个字符处：{what}", self.position)
    }
}

impl Expression {
    /// Computes the amount, unrounded. `value_of` returns the value of a variable for a payer
    /// object; `None` is an error.
    ///
    /// ```
    /// use communal_community::amounts::formula::{Expression, Variable};
    /// use rust_decimal::Decimal;
    ///
    /// let formula: Expression = "R*2.5+X*10".parse().unwrap();
    /// let amount = formula.evaluate(|variable| match variable {
    ///     Variable::BuiltUpArea => Some(Decimal::new(88_88, 2)),
    ///     Variable::Coefficient => Some(Decimal::new(1_2, 1)),
    ///     _ => None,
    /// });
    /// assert_eq!(amount, Ok(Decimal::new(234_20, 2)));
    /// ```
    ///
    /// # Errors
    /// Returns an error if a variable has no value, a divisor is zero, a number does not fit into 28
    /// digits, or the amount is negative.
    pub fn evaluate(&self, value_of: impl Fn(&Variable) -> Option<Decimal>) -> Result<Decimal, EvaluationError> {
        let amount = value(&self.tree, &value_of)?;
        if amount.is_sign_negative() && !amount.is_zero() {
            let fault = EvaluationFault::Negative(amount.normalize());
            return Err(EvaluationError { position: self.tree.position, fault });
        }
        Ok(amount)
    }
}

/// Checks that each part without variables has a value: a formula with one that has none would be
/// stored and could never be computed.
pub(super) fn check_constants(tree: &Tree) -> Result<(), FormulaError> {
    match constant(tree)? {
        Some(amount) if amount.is_sign_negative() && !amount.is_zero() => {
            Err(FormulaError { position: tree.position, fault: FormulaFault::NeverPositive })
        }
        _ => Ok(()),
    }
}

/// The value of a part without variables; `None` for one with variables.
fn constant(tree: &Tree) -> Result<Option<Decimal>, FormulaError> {
    let fault = |fault| FormulaError { position: tree.position, fault };
    match &tree.node {
        Node::Number(number) => Ok(Some(*number)),
        Node::Variable(_) => Ok(None),
        Node::Negative(inner) => Ok(constant(inner)?.map(|value| -value)),
        Node::Operation(operation, left, right) => {
            let (left, right) = (constant(left)?, constant(right)?);
            if *operation == Operation::Divide && right.is_some_and(|divisor| divisor.is_zero()) {
                return Err(fault(FormulaFault::ZeroDivisor));
            }
            let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
            operation.apply(left, right).map(Some).ok_or_else(|| fault(FormulaFault::TooLarge))
        }
    }
}

impl Operation {
    /// The result, if it fits into 28 digits and nothing is divided by zero.
    fn apply(self, left: Decimal, right: Decimal) -> Option<Decimal> {
        match self {
            Self::Add => left.checked_add(right),
            Self::Subtract => left.checked_sub(right),
            Self::Multiply => left.checked_mul(right),
            Self::Divide => left.checked_div(right),
        }
    }
}

fn value(tree: &Tree, value_of: &impl Fn(&Variable) -> Option<Decimal>) -> Result<Decimal, EvaluationError> {
    let fault = |fault| EvaluationError { position: tree.position, fault };
    match &tree.node {
        Node::Number(number) => Ok(*number),
        Node::Variable(variable) => value_of(variable).ok_or_else(|| fault(EvaluationFault::Missing(variable.clone()))),
        Node::Negative(inner) => value(inner, value_of).map(|v| -v),
        Node::Operation(operation, left, right) => {
            let (left, right) = (value(left, value_of)?, value(right, value_of)?);
            if *operation == Operation::Divide && right.is_zero() {
                return Err(fault(EvaluationFault::DivisionByZero));
            }
            operation.apply(left, right).ok_or_else(|| fault(EvaluationFault::Overflow))
        }
    }
}
