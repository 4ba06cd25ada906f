//! Protobuf messages field by field, so that a file can be changed in one place without being
//! understood as a whole: decoding and encoding it again would lose the fields that tract's
//! definition of the format does not have (sequence types, for one).
//!
//! Source of the encoding: protobuf.dev/programming-guides/encoding.

/// A field of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub number: u64,
    /// All of it, tag included.
    pub whole: &'a [u8],
    /// What is in it, for strings, bytes and messages.
    pub payload: Option<&'a [u8]>,
}

/// The fields of `message` in order; `None` when it is not a message.
pub(super) fn fields(message: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let (tag, mut after) = varint(rest)?;
        let mut payload = None;
        match tag & 7 {
            0 => after = varint(after)?.1,
            1 => after = after.get(8..)?,
            2 => {
                let (length, content) = varint(after)?;
                let length = usize::try_from(length).ok()?;
                payload = Some(content.get(..length)?);
                after = &content[length..];
            }
            5 => after = after.get(4..)?,
            _ => return None,
        }
        let whole = &rest[..rest.len() - after.len()];
        fields.push(Field { number: tag >> 3, whole, payload });
        rest = after;
    }
    Some(fields)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (place, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * place as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[place + 1..]));
        }
    }
    None
}

/// The payload of the last field `number`, as readers of protobuf take it.
pub(super) fn last<'a>(fields: &[Field<'a>], number: u64) -> Option<&'a [u8]> {
    fields.iter().rev().find(|field| field.number == number)?.payload
}

/// Appends a number as field `number`.
pub(super) fn put_number(out: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(out, number << 3);
    put_varint(out, value);
}

/// Appends a string, bytes or a message as field `number`.
pub(super) fn put(out: &mut Vec<u8>, number: u64, payload: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// `message` with the payload of each field `number` replaced by what `change` makes of it; the
/// field goes when that is `None`. `None` when it is not a message.
pub(super) fn replace(
    message: &[u8],
    number: u64,
    mut change: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(message.len());
    for field in fields(message)? {
        match field.payload {
            Some(payload) if field.number == number => {
                if let Some(changed) = change(payload) {
                    put(&mut out, number, &changed);
                }
            }
            _ => out.extend_from_slice(field.whole),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut message = Vec::new();
        put_number(&mut message, 1, 300);
        put(&mut message, 2, &[7; 200]);
        message.extend_from_slice(&[3 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0, 4 << 3 | 5, 1, 2, 3, 4]);
        put(&mut message, 2, b"");
        message
    }

    #[test]
    fn fields_are_found_and_put_together_again() {
        let message = sample();
        let found = fields(&message).unwrap();
        assert_eq!(found.iter().map(|f| f.number).collect::<Vec<_>>(), [1, 2, 3, 4, 2]);
        assert_eq!(found[1].payload, Some(&[7; 200][..]));
        assert_eq!(last(&found, 2), Some(&b""[..]));
        let whole: Vec<u8> = found.iter().flat_map(|f| f.whole).copied().collect();
        assert_eq!(whole, message);
        assert_eq!(replace(&message, 2, |p| Some(p.to_vec())), Some(message.clone()));
        let without = replace(&message, 2, |_| None).unwrap();
        assert_eq!(fields(&without).unwrap().len(), 3);
    }

    #[test]
    fn what_is_no_message_is_none_and_never_a_panic() {
        let message = sample();
        let whole_fields: Vec<usize> = fields(&message)
            .unwrap()
            .iter()
            .scan(0, |end, f| {
                *end += f.whole.len();
                Some(*end)
            })
            .collect();
        for length in 1..message.len() {
            let cut = fields(&message[..length]);
            assert_eq!(cut.is_some(), whole_fields.contains(&length), "{length}");
        }
        for bad in [&[0xff; 12][..], &[0x0b], &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]] {
            assert!(fields(bad).is_none(), "{bad:?}");
        }
    }
}
