//! The part of the protobuf wire format that the documented shapes use.

/// Wire type of a varint.
pub(crate) const VARINT: u8 = 0;
/// Wire type of a length-delimited value.
pub(crate) const BYTES: u8 = 2;

/// Appends a varint.
pub(crate) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads protobuf bytes from the front. Every method returns `None` if the bytes are not valid protobuf.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WireReader<'w> {
    bytes: &'w [u8],
    position: usize,
}

impl<'w> WireReader<'w> {
    pub(crate) fn new(bytes: &'w [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(crate) fn at(bytes: &'w [u8], position: usize) -> Self {
        Self { bytes, position }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn is_done(&self) -> bool {
        self.position >= self.bytes.len()
    }

    pub(crate) fn varint(&mut self) -> Option<u64> {
        let first = *self.bytes.get(self.position)?;
        self.position += 1;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = *self.bytes.get(self.position)?;
            self.position += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // The tenth byte holds one bit only.
                return (shift < 63 || byte <= 1).then_some(value);
            }
        }
        None
    }

    /// Reads the number and wire type of the next field.
    pub(crate) fn tag(&mut self) -> Option<(u32, u8)> {
        let tag = u32::try_from(self.varint()?).ok()?;
        let number = tag >> 3;
        (number != 0).then_some((number, (tag & 7) as u8))
    }

    /// Reads the bytes of a length-delimited value.
    pub(crate) fn bytes(&mut self) -> Option<&'w [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        let end = self.position.checked_add(length)?;
        let value = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(value)
    }

    /// Skips a value. Groups are not supported; no service sends them.
    pub(crate) fn skip(&mut self, wire_type: u8) -> Option<()> {
        let fixed = match wire_type {
            VARINT => return self.varint().map(drop),
            BYTES => return self.bytes().map(drop),
            1 => 8,
            5 => 4,
            _ => return None,
        };
        self.position = self.position.checked_add(fixed).filter(|&end| end <= self.bytes.len())?;
        Some(())
    }
}
