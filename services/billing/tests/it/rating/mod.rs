//! Rating: the worked examples of the domain and published tariffs as tables, and the properties that every bill has.

mod examples;
mod given;
mod ladders;
mod properties;
mod published;
mod registers;
mod two_part;
