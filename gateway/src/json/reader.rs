//! A pull parser of JSON with a limit on nesting that also holds inside ignored values.

use jiter::{Jiter, JiterError, Peek};

/// Deepest nesting of objects and arrays in a request. The documented shapes have four.
pub const MOST_NESTING: usize = 32;

/// An error in a body that cannot be read as a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A syntax error, including invalid UTF-8 and lone surrogates.
    #[error("not JSON at byte {offset}")]
    Syntax {
        /// The position of the error in bytes.
        offset: usize,
    },
    /// Objects and arrays are nested deeper than [`MOST_NESTING`].
    #[error("nested deeper than {MOST_NESTING}")]
    TooDeep,
    /// The body is JSON, but not an object.
    #[error("not an object")]
    NotAnObject,
}

impl From<JiterError> for Malformed {
    fn from(error: JiterError) -> Self {
        // Types are peeked before a value is taken, so only the syntax can fail.
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
pub(crate) struct JsonReader<'b> {
    jiter: Jiter<'b>,
    depth: usize,
}

impl<'b> JsonReader<'b> {
    pub(crate) fn new(body: &'b [u8]) -> Self {
        // Some clients send a byte order mark, which is not JSON.
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        Self { jiter: Jiter::new(body), depth: 0 }
    }

    /// Returns the kind of the next value without consuming it.
    pub(crate) fn peek(&mut self) -> Result<Next, Malformed> {
        Ok(match self.jiter.peek()? {
            Peek::Null => Next::Null,
            Peek::True | Peek::False => Next::Bool,
            Peek::String => Next::Text,
            Peek::Array => Next::Array,
            Peek::Object => Next::Object,
            // Anything else is a number, or fails when it is taken as one.
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

    /// Enters an object that was peeked and returns its first key; returns `None` if it is empty, and leaves it.
    pub(crate) fn first_key(&mut self) -> Result<Option<&str>, Malformed> {
        self.enter()?;
        let key = self.jiter.known_object()?;
        if key.is_none() {
            self.depth -= 1;
        }
        Ok(key)
    }

    /// Returns the next key of the open object, or `None` at its end.
    pub(crate) fn next_key(&mut self) -> Result<Option<&str>, Malformed> {
        let key = self.jiter.next_key()?;
        if key.is_none() {
            self.depth -= 1;
        }
        Ok(key)
    }

    /// Enters an array that was peeked; returns `false` if it is empty, and leaves it.
    pub(crate) fn first_row(&mut self) -> Result<bool, Malformed> {
        self.enter()?;
        let any = self.jiter.known_array()?.is_some();
        if !any {
            self.depth -= 1;
        }
        Ok(any)
    }

    /// Returns whether the open array has another value; leaves it if not.
    pub(crate) fn next_row(&mut self) -> Result<bool, Malformed> {
        let more = self.jiter.array_step()?.is_some();
        if !more {
            self.depth -= 1;
        }
        Ok(more)
    }

    /// Skips a value of any depth without recursion. An ignored value still has to be JSON.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        let outside = self.depth;
        // One bit for each open level inside the value; set for an array.
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
            // A value has ended: continue with the innermost level that has another.
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

    /// Checks that only white space is left.
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
