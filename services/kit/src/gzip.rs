//! gzip in memory.
//!
//! What compressed data become is not bounded by what was sent, so they are expanded in parts: the reader looks at the size
//! so far before it takes the next one.

use std::io::{self, Read as _, Write as _};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

/// The bytes by which data are expanded.
const PART: u64 = 64 * 1024;

/// The data are not what gzip writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoGzip;

/// Compressed data that are being expanded.
///
/// ```
/// use communal_kit::gzip::{Expansion, gzip};
///
/// let compressed = gzip(&[0; 100_000]).unwrap();
/// let mut expansion = Expansion::new(&compressed);
/// assert_eq!(expansion.next_part(), Ok(Some(65_536)));
/// assert_eq!(expansion.next_part(), Ok(Some(100_000)));
/// assert_eq!(expansion.next_part(), Ok(None));
/// assert_eq!(expansion.into_whole(), [0; 100_000]);
/// ```
#[derive(Debug)]
pub struct Expansion<'d> {
    reader: GzDecoder<&'d [u8]>,
    whole: Vec<u8>,
}

impl<'d> Expansion<'d> {
    /// Begins to expand data.
    #[must_use]
    pub fn new(compressed: &'d [u8]) -> Self {
        Self { reader: GzDecoder::new(compressed), whole: Vec::new() }
    }

    /// Expands the next part. Returns the bytes that are there so far, or `None` if all are.
    ///
    /// # Errors
    /// Returns an error if the data are not what gzip writes, or something is behind their end.
    pub fn next_part(&mut self) -> Result<Option<usize>, NoGzip> {
        let read = (&mut self.reader).take(PART).read_to_end(&mut self.whole).map_err(|_: io::Error| NoGzip)?;
        match read {
            0 if self.reader.get_ref().is_empty() => Ok(None),
            0 => Err(NoGzip),
            _ => Ok(Some(self.whole.len())),
        }
    }

    /// Returns what was expanded.
    #[must_use]
    pub fn into_whole(self) -> Vec<u8> {
        self.whole
    }
}

/// Compresses data fast; `None` if that does not make them smaller.
#[must_use]
pub fn gzip(data: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(data.len() / 4), Compression::fast());
    encoder.write_all(data).ok()?;
    encoder.finish().ok().filter(|compressed| compressed.len() < data.len())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn whole(compressed: &[u8]) -> Result<Vec<u8>, NoGzip> {
        let mut expansion = Expansion::new(compressed);
        while expansion.next_part()?.is_some() {}
        Ok(expansion.into_whole())
    }

    #[test]
    fn what_is_cut_short_or_followed_by_something_is_no_gzip() {
        let compressed = gzip(&[7; 999]).unwrap();
        assert_eq!(whole(&compressed), Ok(vec![7; 999]));
        let followed = [&compressed[..], b"more"].concat();
        for bad in [&b"no gzip"[..], b"", &compressed[..compressed.len() - 1], &followed] {
            assert_eq!(whole(bad), Err(NoGzip), "{bad:?}");
        }
    }
}
