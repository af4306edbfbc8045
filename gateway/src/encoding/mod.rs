//! How JSON text and protobuf are spelled, byte by byte. Both the plans and the transcoder write with it.

pub(crate) mod json;
pub(crate) mod protobuf;
