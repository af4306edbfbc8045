//! JSON strings and integers.

/// Appends `text` as a JSON string with its quotes.
pub(crate) fn push_json_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text.as_bytes());
    out.push(b'"');
}

/// Appends bytes that should be UTF-8 as a JSON string. Returns `None` if they are not UTF-8.
pub(crate) fn push_json_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.push(b'"');
    match classify(bytes) {
        Content::Plain => out.extend_from_slice(bytes),
        Content::NotAscii => {
            std::str::from_utf8(bytes).ok()?;
            out.extend_from_slice(bytes);
        }
        Content::Escapes => push_escaped(out, std::str::from_utf8(bytes).ok()?.as_bytes()),
    }
    out.push(b'"');
    Some(())
}

enum Content {
    /// ASCII without anything to escape.
    Plain,
    /// Nothing to escape, but not only ASCII.
    NotAscii,
    /// Something to escape; perhaps not only ASCII.
    Escapes,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Classifies bytes, eight at a time; most values are then copied as they are.
fn classify(bytes: &[u8]) -> Content {
    let mut seen_high = 0;
    let mut seen_escape = 0;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        let word = u64::from_le_bytes(*chunk);
        seen_high |= word;
        // A byte below 0x20, a quote or a backslash sets its high bit. The byte after such a byte may set it too, which
        // only costs a slower second pass.
        let control = word.wrapping_sub(ONES * 0x20);
        let quote = (word ^ (ONES * u64::from(b'"'))).wrapping_sub(ONES);
        let backslash = (word ^ (ONES * u64::from(b'\\'))).wrapping_sub(ONES);
        seen_escape |= (control | quote | backslash) & !word;
    }
    let mut high = seen_high & HIGHS != 0;
    let mut escape = seen_escape & HIGHS != 0;
    for &byte in rest {
        high |= byte >= 0x80;
        escape |= byte < 0x20 || byte == b'"' || byte == b'\\';
    }
    match (escape, high) {
        (true, _) => Content::Escapes,
        (false, true) => Content::NotAscii,
        (false, false) => Content::Plain,
    }
}

fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut copied = 0;
    for (index, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[copied..index]);
        copied = index + 1;
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.extend_from_slice(&bytes[copied..]);
}

/// Appends an integer.
pub(crate) fn push_integer(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[start..]);
}
