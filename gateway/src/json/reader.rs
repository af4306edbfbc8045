//! A pull parser with a limit on nesting, also inside what is ignored.

use jiter::{Jiter, JiterError, Peek};

/// Deepest nesting of objects and arrays in a request. The documented shapes have four.
pub const MOST_NESTING: usize = 32;

/// A body that is no JSON which could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A fault of syntax, invalid UTF-8 and lone surrogates included.
    #[error("not JSON at byte {offset}")]
    Syntax {
        /// Bytes before the fault.
        offset: usize,
    },
    /// Objects and arrays inside each other beyond [`MOST_NESTING`].
    #[error("nested deeper than {MOST_NESTING}")]
    TooDeep,
    /// JSON, but no object.
    #[error("not an object")]
    NotAnObject,
}

impl From<JiterError> for Malformed {
    fn from(error: JiterError) -> Self {
        // Types are looked at before a value is taken, so syntax is all that can fail.
        Self::Syntax { offset: error.index }
    }
}

/// The kind of the next value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
}

/// Reads a body from the front.
#[derive(Debug)]
pub(crate) struct Reader<'b> {
    jiter: Jiter<'b>,
    depth: usize,
}

impl<'b> Reader<'b> {
    pub(crate) fn new(body: &'b [u8]) -> Self {
        // A byte order mark is no JSON, but some clients send one.
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        Self { jiter: Jiter::new(body), depth: 0 }
    }

    /// What comes next; nothing is consumed.
    pub(crate) fn peek(&mut self) -> Result<Next, Malformed> {
        Ok(match self.jiter.peek()? {
            Peek::Null => Next::Null,
            Peek::True | Peek::False => Next::Bool,
            Peek::String => Next::Text,
            Peek::Array => Next::Array,
            Peek::Object => Next::Object,
            // Anything else is a number or fails when it is taken as one.
            _ => Next::Number,
        })
    }

    /// Takes a string that was peeked.
    pub(crate) fn text(&mut self) -> Result<&str, Malformed> {
        Ok(self.jiter.known_str()?)
    }

    /// Takes a number as it is written.
    pub(crate) fn number(&mut self) -> Result<&str, Malformed> {
        let offset = self.jiter.current_index();
        let digits = self.jiter.next_number_bytes()?;
        std::str::from_utf8(digits).map_err(|_| Malformed::Syntax { offset })
    }

    /// Enters an object that was peeked; `None` when it is empty and left again.
    pub(crate) fn first_key(&mut self) -> Result<Option<&str>, Malformed> {
        self.enter()?;
        let key = self.jiter.known_object()?;
        if key.is_none() {
            self.depth -= 1;
        }
        Ok(key)
    }

    /// The next key of the object that is open; `None` when it ends.
    pub(crate) fn next_key(&mut self) -> Result<Option<&str>, Malformed> {
        let key = self.jiter.next_key()?;
        if key.is_none() {
            self.depth -= 1;
        }
        Ok(key)
    }

    /// Enters an array that was peeked; `false` when it is empty and left again.
    pub(crate) fn first_row(&mut self) -> Result<bool, Malformed> {
        self.enter()?;
        let any = self.jiter.known_array()?.is_some();
        if !any {
            self.depth -= 1;
        }
        Ok(any)
    }

    /// Whether the array that is open has another value; it is left when not.
    pub(crate) fn next_row(&mut self) -> Result<bool, Malformed> {
        let more = self.jiter.array_step()?.is_some();
        if !more {
            self.depth -= 1;
        }
        Ok(more)
    }

    /// Steps over a value, however deep, without calling itself. What is ignored still has
    /// to be JSON.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        let outside = self.depth;
        // One bit for each level that is open inside the value; set for an array.
        let mut arrays: u64 = 0;
        loop {
            let opened = match self.peek()? {
                Next::Array => {
                    let any = self.first_row()?;
                    any.then_some(1)
                }
                Next::Object => self.first_key()?.is_some().then_some(0),
                scalar => {
                    self.scalar(scalar)?;
                    None
                }
            };
            if let Some(array) = opened {
                arrays = arrays << 1 | array;
                continue;
            }
            // A value has ended: go on with the innermost level that has another.
            loop {
                if self.depth == outside {
                    return Ok(());
                }
                let more = if arrays & 1 == 1 { self.next_row()? } else { self.next_key()?.is_some() };
                if more {
                    break;
                }
                arrays >>= 1;
            }
        }
    }

    /// Fails unless nothing but white space is left.
    pub(crate) fn finish(&mut self) -> Result<(), Malformed> {
        Ok(self.jiter.finish()?)
    }

    fn scalar(&mut self, next: Next) -> Result<(), Malformed> {
        match next {
            Next::Null => self.jiter.known_null()?,
            Next::Bool => drop(self.jiter.next_bool()?),
            Next::Text => drop(self.jiter.known_str()?),
            _ => drop(self.jiter.next_number_bytes()?),
        }
        Ok(())
    }

    fn enter(&mut self) -> Result<(), Malformed> {
        if self.depth == MOST_NESTING {
            return Err(Malformed::TooDeep);
        }
        self.depth += 1;
        Ok(())
    }
}
