//! Formulas (计费公式): a small grammar of our own. A formula that runs as a script, as in the
//! reference system, executes any text that people type, and bills 0 when it fails.
//!
//! A formula is parsed and type-checked when it is stored ([`Expression::from_str`]), so
//! that what is stored can be computed, and computed in decimals later
//! ([`Expression::evaluate`]). Every error has the position of its cause, in characters
//! (汉字 count as one) from 1.
//!
//! ```
//! use communal_community::amounts::formula::Expression;
//!
//! let formula: Expression = "面积 × 单价 ＋ 附加费".parse().unwrap();
//! assert_eq!(formula.to_string(), "R*单价+附加费");
//!
//! let error = "R*2.5+Y".parse::<Expression>().unwrap_err();
//! assert_eq!(error.position, 7);
//! assert_eq!(error.text(), "公式第7个字符处：不认识“Y”");
//! ```

mod dimension;
mod evaluate;
mod filled;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;

pub use evaluate::{EvaluationError, EvaluationFault};

/// Most characters of a formula.
pub const LONGEST: usize = 500;
/// Most parentheses and signs around a place.
pub const DEEPEST: usize = 32;

/// A fact of a payer object or its fee item that a formula can use.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Variable {
    /// C: area of the community (小区面积).
    CommunityArea,
    /// F: area of the building (楼栋面积).
    BuildingArea,
    /// U: area of the unit (单元面积).
    UnitArea,
    /// R, 面积: built-up area of the room (建筑面积).
    BuiltUpArea,
    /// X: charge coefficient (算费系数).
    Coefficient,
    /// L: storey (楼层).
    Storey,
    /// RL and its number: an attribute of the room (房屋属性).
    RoomAttribute(String),
    /// 单价: unit price of the fee item.
    Price,
    /// 附加费: additional amount of the fee item.
    AdditionalAmount,
}

impl fmt::Display for Variable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::CommunityArea => "C",
            Self::BuildingArea => "F",
            Self::UnitArea => "U",
            Self::BuiltUpArea => "R",
            Self::Coefficient => "X",
            Self::Storey => "L",
            Self::RoomAttribute(number) => return write!(out, "RL{number}"),
            Self::Price => "单价",
            Self::AdditionalAmount => "附加费",
        })
    }
}

/// The fault of a formula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormulaFault {
    /// The text is empty.
    Empty,
    /// It has more than [`LONGEST`] characters.
    TooLong,
    /// More than [`DEEPEST`] parentheses and signs are inside each other.
    TooDeep,
    /// A character that no formula has.
    UnknownCharacter(char),
    /// Letters that are no variable.
    UnknownWord(String),
    /// RL without the number of the attribute.
    AttributeWithoutNumber,
    /// A point without digits on both sides, or two points.
    MalformedNumber(String),
    /// A number of more than 28 digits.
    NumberTooLong,
    /// A number, a variable or ( should stand here.
    OperandExpected,
    /// An operator should stand here.
    OperatorExpected,
    /// A ( that is never closed.
    OpenWithoutClose,
    /// A ) that was never opened.
    CloseWithoutOpen,
    /// Both sides of + or − measure different things.
    Unlike,
    /// The result is no amount of money.
    NotMoney,
    /// A division by a part without variables that is 0.
    ZeroDivisor,
    /// A part without variables does not fit into 28 digits.
    TooLarge,
    /// The formula has no variables and is negative.
    NeverPositive,
}

/// The error of a text that is no formula, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} at character {position}", self.description())]
pub struct FormulaError {
    /// Position of the cause, in characters from 1.
    pub position: usize,
    /// The fault.
    pub fault: FormulaFault,
}

impl FormulaError {
    /// The error in Chinese.
    #[must_use]
    pub fn text(&self) -> String {
        let what = match &self.fault {
            FormulaFault::Empty => "公式为空".to_owned(),
            FormulaFault::TooLong => format!("公式超过{LONGEST}个字符"),
            FormulaFault::TooDeep => format!("括号或负号嵌套超过{DEEPEST}层"),
            FormulaFault::UnknownCharacter(character) => format!("不认识“{character}”"),
            FormulaFault::UnknownWord(word) => format!("不认识“{word}”"),
            FormulaFault::AttributeWithoutNumber => "RL后缺少属性编号".to_owned(),
            FormulaFault::MalformedNumber(text) => format!("数字“{text}”格式不正确"),
            FormulaFault::NumberTooLong => "数字超过28位".to_owned(),
            FormulaFault::OperandExpected => "缺少数字或变量".to_owned(),
            FormulaFault::OperatorExpected => "缺少运算符".to_owned(),
            FormulaFault::OpenWithoutClose => "左括号没有配对".to_owned(),
            FormulaFault::CloseWithoutOpen => "右括号没有配对".to_owned(),
            FormulaFault::Unlike => "两侧的量不能相加减".to_owned(),
            FormulaFault::NotMoney => "计算结果不是金额".to_owned(),
            FormulaFault::ZeroDivisor => "除数为零".to_owned(),
            FormulaFault::TooLarge => "数值过大".to_owned(),
            FormulaFault::NeverPositive => "计算结果为负数".to_owned(),
        };
        format!("公式第{}个字符处：{what}", self.position)
    }

    fn description(&self) -> String {
        match &self.fault {
            FormulaFault::Empty => "the formula is empty".to_owned(),
            FormulaFault::TooLong => format!("the formula has more than {LONGEST} characters"),
            FormulaFault::TooDeep => format!("more than {DEEPEST} parentheses or signs inside each other"),
            FormulaFault::UnknownCharacter(character) => format!("unknown character {character:?}"),
            FormulaFault::UnknownWord(word) => format!("unknown variable {word:?}"),
            FormulaFault::AttributeWithoutNumber => "RL without the number of an attribute".to_owned(),
            FormulaFault::MalformedNumber(text) => format!("malformed number {text:?}"),
            FormulaFault::NumberTooLong => "a number of more than 28 digits".to_owned(),
            FormulaFault::OperandExpected => "a number or variable is missing".to_owned(),
            FormulaFault::OperatorExpected => "an operator is missing".to_owned(),
            FormulaFault::OpenWithoutClose => "( is never closed".to_owned(),
            FormulaFault::CloseWithoutOpen => ") was never opened".to_owned(),
            FormulaFault::Unlike => "both sides measure different things".to_owned(),
            FormulaFault::NotMoney => "the result is no amount of money".to_owned(),
            FormulaFault::ZeroDivisor => "division by zero".to_owned(),
            FormulaFault::TooLarge => "the number is too large".to_owned(),
            FormulaFault::NeverPositive => "the result is negative".to_owned(),
        }
    }
}

/// A formula that was parsed and type-checked. Displayed, it is in canonical form: without
/// spaces and needless parentheses, half-width, R for 面积.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    tree: Tree,
}

impl FromStr for Expression {
    type Err = FormulaError;

    fn from_str(text: &str) -> Result<Self, FormulaError> {
        let tokens = lexer::tokens(text)?;
        let tree = parser::tree(&tokens, text.chars().count())?;
        dimension::check(&tree)?;
        evaluate::check_constants(&tree)?;
        Ok(Self { tree })
    }
}

/// A form of the documented formula 1001.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaFormula {
    /// 面积 × 单价 ＋ 附加费, in any order.
    WithAdditionalAmount,
    /// 面积 × 单价, in any order: the same as 1001 if the additional amount is 0.
    WithoutAdditionalAmount,
}

impl Expression {
    /// Recognises built-up area times price, with or without the additional amount,
    /// whatever the order of its parts.
    #[must_use]
    pub fn as_area_formula(&self) -> Option<AreaFormula> {
        let is = |tree: &Tree, variable: Variable| tree.node == Node::Variable(variable);
        let is_product = |tree: &Tree| match &tree.node {
            Node::Operation(Operation::Multiply, left, right) => {
                (is(left, Variable::BuiltUpArea) && is(right, Variable::Price))
                    || (is(left, Variable::Price) && is(right, Variable::BuiltUpArea))
            }
            _ => false,
        };
        match &self.tree.node {
            Node::Operation(Operation::Add, left, right) => {
                let fits = (is_product(left) && is(right, Variable::AdditionalAmount))
                    || (is(left, Variable::AdditionalAmount) && is_product(right));
                fits.then_some(AreaFormula::WithAdditionalAmount)
            }
            _ => is_product(&self.tree).then_some(AreaFormula::WithoutAdditionalAmount),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tree.print(out, Strength::Sum)
    }
}

/// A part of a formula and its position: of an operation, the position of its operator.
#[derive(Clone, Debug)]
struct Tree {
    node: Node,
    position: usize,
}

/// Two formulas are equal if they compute the same way; positions do not matter.
impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl Eq for Tree {}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// Never negative: a sign is a node of its own.
    Number(Decimal),
    Variable(Variable),
    Negative(Box<Tree>),
    Operation(Operation, Box<Tree>, Box<Tree>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// Binding strength of a place: a part that binds less needs parentheses there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Sum,
    Product,
    Factor,
}

impl Tree {
    fn operation(operation: Operation, left: Self, right: Self, position: usize) -> Self {
        Self { node: Node::Operation(operation, Box::new(left), Box::new(right)), position }
    }

    /// Position of the first character of this part.
    fn start(&self) -> usize {
        match &self.node {
            Node::Operation(_, left, _) => left.start(),
            _ => self.position,
        }
    }

    fn print(&self, out: &mut fmt::Formatter<'_>, place: Strength) -> fmt::Result {
        match &self.node {
            Node::Number(number) => write!(out, "{number}"),
            Node::Variable(variable) => write!(out, "{variable}"),
            Node::Negative(inner) => {
                out.write_str("-")?;
                inner.print(out, Strength::Factor)
            }
            Node::Operation(operation, left, right) => {
                let (sign, own, right_place) = match operation {
                    Operation::Add => ("+", Strength::Sum, Strength::Product),
                    Operation::Subtract => ("-", Strength::Sum, Strength::Product),
                    Operation::Multiply => ("*", Strength::Product, Strength::Factor),
                    Operation::Divide => ("/", Strength::Product, Strength::Factor),
                };
                let parentheses = own < place;
                if parentheses {
                    out.write_str("(")?;
                }
                left.print(out, own)?;
                out.write_str(sign)?;
                right.print(out, right_place)?;
                if parentheses {
                    out.write_str(")")?;
                }
                Ok(())
            }
        }
    }
}
