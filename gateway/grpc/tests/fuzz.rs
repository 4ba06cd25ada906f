//! The decoder of messages under altered bodies, as those of `gateway/protocol`.

#[path = "../../protocol/tests/fuzz/harness.rs"]
mod harness;

use harness::{fuzz, run};
use weighbridge_grpc::codec::decode;
use weighbridge_grpc::convert;
use weighbridge_grpc::inference::ModelInferRequest;
use weighbridge_protocol::{NamedTensor, Output, raw};

fn infer(body: &[u8]) -> bool {
    let Ok(message) = decode::<ModelInferRequest>(&mut &*body) else { return false };
    let decoded = match convert::decode(message) {
        Ok(decoded) => decoded,
        Err(error) => {
            let length = error.to_string().len();
            assert!((1..2000).contains(&length), "an error of {length} bytes");
            return false;
        }
    };
    // Decoding alone is measured on long bodies.
    if body.len() > 8192 {
        return true;
    }
    let tensors = decoded.request.inputs;
    let output = |named: &'_ NamedTensor| (named.name.clone(), named.tensor.clone());
    let outputs: Vec<_> = tensors.iter().map(output).collect();
    let outputs: Vec<Output<'_>> =
        outputs.iter().map(|(name, tensor)| Output::from((name.as_str(), tensor))).collect();
    let answer = convert::encode(&convert::Answer {
        model_name: "m",
        model_version: "1",
        id: None,
        outputs: &outputs,
        is_final: decoded.asks_for_final,
    });
    for (place, NamedTensor { tensor, .. }) in tensors.iter().enumerate() {
        let (shape, bytes) = (tensor.shape().to_vec(), &answer.raw_output_contents[place]);
        let again = raw::decode("output", tensor.datatype(), shape, bytes).unwrap();
        let bits = |of: &weighbridge_config::Tensor| {
            let mut bytes = Vec::new();
            raw::encode(of.data(), &mut bytes);
            bytes
        };
        assert_eq!(bits(&again), bits(tensor));
    }
    true
}

#[test]
fn altered_messages() {
    fuzz("infer", infer);
}

/// The worst that is known: inputs, outputs and texts of two bytes each.
#[test]
fn long_messages_take_memory_in_proportion() {
    let many = 200_000;
    for field in [0x2a, 0x32] {
        assert_eq!(run(infer, &[field, 0].repeat(many)), Ok(false), "{field}");
    }
    let behind_length = |field: u8, content: &[u8]| {
        let mut message = vec![field];
        prost::encode_length_delimiter(content.len(), &mut message).unwrap();
        message.extend_from_slice(content);
        message
    };
    for field in [0x42, 0x0a] {
        let contents = [field, 0].repeat(many);
        let message = behind_length(0x2a, &behind_length(0x2a, &contents));
        assert_eq!(run(infer, &message), Ok(false), "{field}");
    }
}
