//! Builds the tree of a formula, with the usual precedence: a sign before × and ÷, those
//! before + and −, and from left to right among equals.
//!
//! ```text
//! expression := term (('+' | '-') term)*
//! term       := factor (('*' | '/') factor)*
//! factor     := '-' factor | number | variable | '(' expression ')'
//! ```

use super::lexer::{Placed, Token};
use super::{DEEPEST, FormulaError, FormulaFault, Node, Operation, Tree};

/// Builds the tree of `tokens`; `length` is the number of characters they came from.
pub(super) fn tree(tokens: &[Placed], length: usize) -> Result<Tree, FormulaError> {
    if tokens.is_empty() {
        return Err(FormulaError { position: 1, fault: FormulaFault::Empty });
    }
    let mut parser = Parser { rest: tokens, end: length + 1, depth: 0 };
    let tree = parser.expression()?;
    match parser.rest.first() {
        None => Ok(tree),
        Some(placed) if placed.token == Token::Close => {
            Err(FormulaError { position: placed.position, fault: FormulaFault::CloseWithoutOpen })
        }
        Some(placed) => Err(FormulaError { position: placed.position, fault: FormulaFault::OperatorExpected }),
    }
}

struct Parser<'a> {
    rest: &'a [Placed],
    /// Position after the text: that of a part that is missing at the end.
    end: usize,
    /// Parentheses and signs around the place being read.
    depth: usize,
}

impl Parser<'_> {
    fn expression(&mut self) -> Result<Tree, FormulaError> {
        let mut left = self.term()?;
        loop {
            let operation = match self.rest.first().map(|p| &p.token) {
                Some(Token::Plus) => Operation::Add,
                Some(Token::Minus) => Operation::Subtract,
                _ => return Ok(left),
            };
            let position = self.step();
            let right = self.term()?;
            left = Tree::operation(operation, left, right, position);
        }
    }

    fn term(&mut self) -> Result<Tree, FormulaError> {
        let mut left = self.factor()?;
        loop {
            let operation = match self.rest.first().map(|p| &p.token) {
                Some(Token::Times) => Operation::Multiply,
                Some(Token::Divide) => Operation::Divide,
                _ => return Ok(left),
            };
            let position = self.step();
            let right = self.factor()?;
            left = Tree::operation(operation, left, right, position);
        }
    }

    fn factor(&mut self) -> Result<Tree, FormulaError> {
        let Some(Placed { token, position }) = self.rest.first().cloned() else {
            return Err(FormulaError { position: self.end, fault: FormulaFault::OperandExpected });
        };
        self.step();
        match token {
            Token::Number(number) => Ok(Tree { node: Node::Number(number), position }),
            Token::Variable(variable) => Ok(Tree { node: Node::Variable(variable), position }),
            Token::Minus => {
                self.deeper(position)?;
                let inner = self.factor()?;
                self.depth -= 1;
                Ok(Tree { node: Node::Negative(Box::new(inner)), position })
            }
            Token::Open => {
                self.deeper(position)?;
                let inner = self.expression()?;
                self.depth -= 1;
                match self.rest.first().map(|p| &p.token) {
                    Some(Token::Close) => {
                        self.step();
                        Ok(inner)
                    }
                    None => Err(FormulaError { position, fault: FormulaFault::OpenWithoutClose }),
                    Some(_) => Err(FormulaError { position: self.position(), fault: FormulaFault::OperatorExpected }),
                }
            }
            Token::Plus | Token::Times | Token::Divide | Token::Close => {
                Err(FormulaError { position, fault: FormulaFault::OperandExpected })
            }
        }
    }

    /// Takes a token and returns its position.
    fn step(&mut self) -> usize {
        let position = self.position();
        self.rest = self.rest.get(1..).unwrap_or_default();
        position
    }

    fn position(&self) -> usize {
        self.rest.first().map_or(self.end, |p| p.position)
    }

    /// Bounds the recursion, which is as deep as the parentheses and signs.
    fn deeper(&mut self, position: usize) -> Result<(), FormulaError> {
        self.depth += 1;
        if self.depth > DEEPEST { Err(FormulaError { position, fault: FormulaFault::TooDeep }) } else { Ok(()) }
    }
}
