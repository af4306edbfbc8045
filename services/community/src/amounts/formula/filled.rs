//! A formula with values in the place of its variables, as an explanation shows it.

use rust_decimal::Decimal;

use super::{Expression, Node, Tree, Variable};

impl Expression {
    /// Returns the canonical text with values put in. A variable without a value stays.
    ///
    /// ```
    /// use communal_community::amounts::formula::{Expression, Variable};
    /// use rust_decimal::Decimal;
    ///
    /// let formula: Expression = "面积×2.5+X×10".parse().unwrap();
    /// let area = |variable: &Variable| (*variable == Variable::BuiltUpArea).then_some(Decimal::new(88_88, 2));
    /// assert_eq!(formula.filled(area), "88.88*2.5+X*10");
    /// ```
    #[must_use]
    pub fn filled(&self, value_of: impl Fn(&Variable) -> Option<Decimal>) -> String {
        Self { tree: filled(&self.tree, &value_of) }.to_string()
    }
}

fn filled(tree: &Tree, value_of: &impl Fn(&Variable) -> Option<Decimal>) -> Tree {
    let node = match &tree.node {
        Node::Variable(variable) => match value_of(variable) {
            Some(value) => number(value.normalize(), tree.position),
            None => tree.node.clone(),
        },
        Node::Number(number) => Node::Number(*number),
        Node::Negative(inner) => Node::Negative(Box::new(filled(inner, value_of))),
        Node::Operation(operation, left, right) => {
            Node::Operation(*operation, Box::new(filled(left, value_of)), Box::new(filled(right, value_of)))
        }
    };
    Tree { node, position: tree.position }
}

/// A number of the grammar, in which a sign is a node of its own.
fn number(value: Decimal, position: usize) -> Node {
    let absolute = Node::Number(value.abs());
    if value.is_sign_negative() { Node::Negative(Box::new(Tree { node: absolute, position })) } else { absolute }
}
