//! The place in a request at which the transcoder is.

use std::fmt::{self, Display};

/// A path of documented names, like `COM_SALES_PRICE[3].CAT_ITEM_PRICE`. It is kept as steps and formatted only if a
/// fault has to be named.
#[derive(Debug, Default)]
pub(crate) struct Path<'p> {
    steps: Vec<Step<'p>>,
}

#[derive(Debug)]
enum Step<'p> {
    Key(&'p str),
    Row(usize),
}

impl<'p> Path<'p> {
    pub(crate) fn enter(&mut self, key: &'p str) {
        self.steps.push(Step::Key(key));
    }

    pub(crate) fn enter_row(&mut self, row: usize) {
        self.steps.push(Step::Row(row));
    }

    pub(crate) fn leave(&mut self) {
        self.steps.pop();
    }
}

impl Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            match step {
                Step::Key(key) if index == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Row(row) => write!(f, "[{row}]")?,
            }
        }
        Ok(())
    }
}
