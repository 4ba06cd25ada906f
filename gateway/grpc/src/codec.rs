//! Messages on the wire: protobuf, bounded before it is read.
//!
//! An empty input takes two bytes on the wire and some three hundred in memory, an empty text two
//! and twenty-four. A message says how many there are before any is made: more than [`MOST_FIELDS`]
//! and [`MOST_TEXTS`] are refused.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

/// The most fields of a message at its top: inputs, outputs and parameters together.
const MOST_FIELDS: usize = 4096;

/// The most texts (elements of BYTES that are not raw) of a message.
const MOST_TEXTS: usize = 1 << 22;
/// The numbers of the fields that lead to them: inputs of a request, contents of an input, texts
/// of contents.
const TEXTS: [u32; 3] = [5, 5, 8];

/// Messages with more bytes are decoded where they cannot hold up other connections.
const LARGE_BYTES: usize = 256 * 1024;

/// The codec of the service.
#[derive(Debug, Clone)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + 'static, U: Message + Default + 'static> Codec for BoundedCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::new(BufferSettings::default())
    }

    fn decoder(&mut self) -> BoundedDecoder<U> {
        BoundedDecoder(PhantomData)
    }
}

/// Decodes one message.
#[derive(Debug)]
pub struct BoundedDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, came: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if came.remaining() <= LARGE_BYTES {
            return decode(came).map(Some);
        }
        tokio::task::block_in_place(|| decode(came)).map(Some)
    }
}

/// Decodes all of `came`, which stands in one piece.
///
/// # Errors
/// `INVALID_ARGUMENT`: bytes that are no such message, or one of too many fields.
pub fn decode<U: Message + Default>(came: &mut impl Buf) -> Result<U, Status> {
    let unreadable = |e: prost::DecodeError| {
        Status::invalid_argument(format!("the message cannot be read: {e}"))
    };
    if came.chunk().len() < came.remaining() {
        return Err(Status::internal("a message in pieces"));
    }
    let (mut fields, mut texts) = (0, 0);
    count(came.chunk(), &TEXTS, &mut fields, &mut texts).map_err(unreadable)?;
    if fields > MOST_FIELDS {
        return Err(Status::invalid_argument(format!(
            "the message has more than {MOST_FIELDS} inputs, outputs and parameters"
        )));
    }
    if texts > MOST_TEXTS {
        return Err(Status::invalid_argument(format!(
            "the message has {texts} elements of BYTES, at most {MOST_TEXTS} may come in one"
        )));
    }
    U::decode(came).map_err(unreadable)
}

/// Counts the fields at the top of a message, and those that `path` leads to. Messages of other
/// kinds than a request are smaller than that matters.
fn count(
    mut message: &[u8],
    path: &[u32],
    fields: &mut usize,
    found: &mut usize,
) -> Result<(), prost::DecodeError> {
    let is_top = path.len() == TEXTS.len();
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message)?;
        *fields += usize::from(is_top);
        if *fields > MOST_FIELDS {
            return Ok(());
        }
        let (next, rest) = path.split_first().unwrap_or((&0, &[]));
        if tag != *next || wire_type != WireType::LengthDelimited {
            skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
            continue;
        }
        let length = usize::try_from(decode_varint(&mut message)?).unwrap_or(usize::MAX);
        // Where it is too short the decoder says so.
        let Some((field, behind)) = message.split_at_checked(length) else { return Ok(()) };
        message = behind;
        match rest {
            [] => *found += 1,
            rest => count(field, rest, fields, found)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::inference::model_infer_request::InferInputTensor;
    use crate::inference::{InferTensorContents, ModelInferRequest};

    #[test]
    fn messages_of_too_many_parts_are_refused_before_they_are_made() {
        let with = |inputs: usize| ModelInferRequest {
            inputs: vec![InferInputTensor::default(); inputs],
            ..ModelInferRequest::default()
        };
        let most = with(MOST_FIELDS);
        assert_eq!(decode::<ModelInferRequest>(&mut &*most.encode_to_vec()).unwrap(), most);
        let more = decode::<ModelInferRequest>(&mut &*with(MOST_FIELDS + 1).encode_to_vec());
        assert_eq!(more.unwrap_err().code(), Code::InvalidArgument);
        let texts = |count: usize| {
            let contents = InferTensorContents {
                bytes_contents: vec![Vec::new(); count],
                ..InferTensorContents::default()
            };
            let contents = Some(contents);
            let inputs = vec![InferInputTensor { contents, ..InferInputTensor::default() }; 2];
            ModelInferRequest { inputs, ..ModelInferRequest::default() }.encode_to_vec()
        };
        assert!(decode::<ModelInferRequest>(&mut &*texts(MOST_TEXTS / 2)).is_ok());
        let more = decode::<ModelInferRequest>(&mut &*texts(MOST_TEXTS / 2 + 1));
        assert_eq!(more.unwrap_err().code(), Code::InvalidArgument);
        let garbage = decode::<ModelInferRequest>(&mut &b"\x08"[..]);
        assert_eq!(garbage.unwrap_err().code(), Code::InvalidArgument);
    }
}
