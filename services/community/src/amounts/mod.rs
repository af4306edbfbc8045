//! The computation of amounts. Pure: it is given what it needs and reads nothing. So far it
//! has the formulas by which fee items charge.

pub mod formula;
