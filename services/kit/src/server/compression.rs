//! Compression of single messages by gzip, as gRPC negotiates and frames it.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use tonic::Status;

use crate::gzip::gzip;

/// A flag and four bytes of length stand in front of each message.
pub(super) const PREFIX: usize = 5;
const ENCODING: &str = "grpc-encoding";
const ACCEPTED: &str = "grpc-accept-encoding";
const GZIP: &str = "gzip";
/// The encodings that are taken.
const TAKEN: &str = "gzip,identity";
/// The longest name of an encoding that a refusal repeats, in characters.
const LONGEST_NAME: usize = 32;

/// Takes the encoding of a request's messages out of its headers. Returns whether they may be compressed.
///
/// # Errors
/// Returns UNIMPLEMENTED with the encodings that are taken if it is another.
pub(super) fn take_encoding(headers: &mut HeaderMap) -> Result<bool, Box<Status>> {
    let Some(encoding) = headers.remove(ENCODING) else { return Ok(false) };
    match encoding.as_bytes() {
        b"identity" => Ok(false),
        b"gzip" => Ok(true),
        other => {
            let name: String = String::from_utf8_lossy(other).chars().take(LONGEST_NAME).collect();
            let message = format!("The request is compressed by {name}: send it by gzip, or plain.");
            let mut status = Status::unimplemented(message);
            if let Ok(taken) = TAKEN.parse() {
                status.metadata_mut().insert(ACCEPTED, taken);
            }
            Err(Box::new(status))
        }
    }
}

/// Returns whether a client takes replies that are compressed.
pub(super) fn is_accepted(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPTED).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|name| name.trim() == GZIP)
}

/// Says in the head of an answer that its messages may be compressed.
pub(super) fn announce(headers: &mut HeaderMap) {
    headers.insert(ENCODING, HeaderValue::from_static(GZIP));
}

/// Compresses the messages of this many bytes and more, where that makes them smaller. The data are whole messages.
pub(super) fn compress(data: Bytes, from: usize) -> Bytes {
    if data.len() < PREFIX + from {
        return data;
    }
    let mut out = BytesMut::with_capacity(data.len() / 2);
    let mut rest = &data[..];
    while let Some((prefix, after)) = rest.split_first_chunk::<PREFIX>() {
        let [flag, length @ ..] = *prefix;
        let Some((message, next)) = after.split_at_checked(u32::from_be_bytes(length) as usize) else { break };
        rest = next;
        let smaller = if flag == 0 && message.len() >= from { gzip(message) } else { None };
        match smaller.as_deref().and_then(|smaller| Some((smaller, u32::try_from(smaller.len()).ok()?))) {
            Some((smaller, length)) => {
                out.put_u8(1);
                out.put_u32(length);
                out.extend_from_slice(smaller);
            }
            None => {
                out.extend_from_slice(prefix);
                out.extend_from_slice(message);
            }
        }
    }
    out.extend_from_slice(rest);
    out.freeze()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::gzip::Expansion;

    fn framed(messages: &[&[u8]]) -> Bytes {
        let mut framed = BytesMut::new();
        for message in messages {
            framed.put_u8(0);
            framed.put_u32(u32::try_from(message.len()).unwrap());
            framed.extend_from_slice(message);
        }
        framed.freeze()
    }

    #[test]
    fn what_is_compressed_expands_to_what_it_was_and_small_messages_stay() {
        let (small, large) = (vec![7; 99], vec![7; 300_000]);
        let plain = framed(&[&small, &large, &small]);
        let compressed = compress(plain.clone(), 100);
        assert!(compressed.len() < 2_000);
        assert_eq!(compressed[..PREFIX + 99], plain[..PREFIX + 99]);
        let second = &compressed[PREFIX + 99..];
        let length = u32::from_be_bytes(*second[1..].first_chunk().unwrap()) as usize;
        let mut expansion = Expansion::new(&second[PREFIX..PREFIX + length]);
        while expansion.next_part().unwrap().is_some() {}
        let expanded = expansion.into_whole();
        assert_eq!((second[0], expanded == large), (1, true));
        assert_eq!(second[PREFIX + length..], plain[PREFIX * 2 + 99 + 300_000..]);
        let noise: Vec<u8> = rand::random_iter().take(2_000).collect();
        assert!(compress(framed(&[&noise]), 100) == framed(&[&noise]), "what does not shrink stays");
    }

    #[test]
    fn another_encoding_is_refused_by_name() {
        let of = |value: &'static str| {
            HeaderMap::from_iter([(http::HeaderName::from_static(ENCODING), HeaderValue::from_static(value))])
        };
        assert!(take_encoding(&mut of("gzip")).unwrap() && !take_encoding(&mut of("identity")).unwrap());
        let refused = take_encoding(&mut of("br")).unwrap_err();
        assert!(refused.message().contains("by br"), "{refused:?}");
        assert_eq!(refused.metadata().get(ACCEPTED).unwrap(), TAKEN);
    }
}
