//! Messages on the wire: protobuf, bounded before it is read.
//!
//! An empty input takes two bytes on the wire and some three hundred in memory. A message says how
//! many there are before any is made: more than [`MOST_FIELDS`] are refused.

use std::marker::PhantomData;

use bytes::Buf;
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

/// The most fields of a message at its top: inputs, outputs and parameters together.
const MOST_FIELDS: usize = 4096;

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
        decode(came).map(Some)
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
    let (mut rest, mut fields) = (came.chunk(), 0);
    while rest.has_remaining() {
        fields += 1;
        if fields > MOST_FIELDS {
            return Err(Status::invalid_argument(format!(
                "the message has more than {MOST_FIELDS} inputs, outputs and parameters"
            )));
        }
        let (tag, wire_type) = decode_key(&mut rest).map_err(unreadable)?;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(unreadable)?;
    }
    U::decode(came).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::inference::ModelInferRequest;
    use crate::inference::model_infer_request::InferInputTensor;

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
        let garbage = decode::<ModelInferRequest>(&mut &b"\x08"[..]);
        assert_eq!(garbage.unwrap_err().code(), Code::InvalidArgument);
    }
}
