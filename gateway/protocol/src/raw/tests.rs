use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn error(datatype: Datatype, shape: &[usize], bytes: &[u8]) -> String {
    decode("input \"x\"", datatype, shape.to_vec(), bytes).unwrap_err().to_string()
}

fn bytes_of(data: &TensorData) -> Vec<u8> {
    let mut out = Vec::new();
    encode(data, &mut out);
    assert_eq!(out.len(), encoded_len(data));
    out
}

#[test]
fn each_datatype_has_its_bytes() {
    let table: Vec<(TensorData, &[u8])> = vec![
        (TensorData::Bool(vec![true, false]), &[1, 0]),
        (TensorData::Uint8(vec![1, 255]), &[1, 255]),
        (TensorData::Uint16(vec![0x0102]), &[2, 1]),
        (TensorData::Uint32(vec![0x0102_0304]), &[4, 3, 2, 1]),
        (TensorData::Uint64(vec![0x0102_0304_0506_0708]), &[8, 7, 6, 5, 4, 3, 2, 1]),
        (TensorData::Int8(vec![-1, 127]), &[255, 127]),
        (TensorData::Int16(vec![-2]), &[254, 255]),
        (TensorData::Int32(vec![-2]), &[254, 255, 255, 255]),
        (TensorData::Int64(vec![-2]), &[254, 255, 255, 255, 255, 255, 255, 255]),
        (TensorData::Fp16(vec![0x3c00]), &[0x00, 0x3c]),
        (TensorData::Bf16(vec![0x3f80]), &[0x80, 0x3f]),
        (TensorData::Fp32(vec![1.0]), &[0, 0, 0x80, 0x3f]),
        (TensorData::Fp64(vec![1.0]), &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f]),
        (TensorData::Bytes(vec![b"ab".to_vec(), vec![]]), &[2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0]),
    ];
    assert_eq!(table.len(), Datatype::ALL.len());
    for (data, bytes) in table {
        assert_eq!(bytes_of(&data), bytes, "{data:?}");
        let tensor = decode("x", data.datatype(), vec![data.len()], bytes).unwrap();
        assert_eq!(tensor.data(), &data);
    }
}

#[test]
fn each_mistake_names_the_tensor_what_came_and_what_was_wanted() {
    let huge = [usize::MAX, 2];
    let table: Vec<(Datatype, &[usize], &[u8], &str)> = vec![
        (Datatype::Fp32, &[2], &[0; 7], "7 bytes came, shape [2] of FP32 wants 8"),
        (Datatype::Fp32, &[2], &[0; 9], "9 bytes came, shape [2] of FP32 wants 8"),
        (Datatype::Fp32, &[], &[], "0 bytes came, shape [] of FP32 wants 4"),
        (Datatype::Fp32, &[0, 7], &[0], "1 bytes came, shape [0, 7] of FP32 wants 0"),
        (Datatype::Fp32, &huge, &[0; 8], "holds more elements than can be counted"),
        (Datatype::Fp64, &[usize::MAX / 4], &[0; 8], "holds more elements than can be counted"),
        (Datatype::Bytes, &huge, &[0; 8], "holds more elements than can be counted"),
        (Datatype::Bool, &[3], &[0, 1, 2], "element 2 is 2, BOOL wants a byte of 0 or 1"),
        (Datatype::Bytes, &[2], &[0; 7], "wants 2 elements of at least 4 bytes"),
        (Datatype::Bytes, &[usize::MAX], &[0; 8], "elements of at least 4 bytes"),
        (Datatype::Bytes, &[1], &[9, 0, 0, 0, 1], "element 0 says it has 9 bytes, 1 are left"),
        (
            Datatype::Bytes,
            &[2],
            &[1, 0, 0, 0, 1, 0, 0, 0],
            "element 1 wants 4 bytes for its length, 3 are left",
        ),
        (Datatype::Bytes, &[1], &[255; 8], "element 0 says it has 4294967295 bytes, 4 are left"),
        (
            Datatype::Bytes,
            &[1],
            &[0, 0, 0, 0, 9],
            "1 of 5 bytes are left over after the 1 elements that shape [1] wants",
        ),
        (Datatype::Bytes, &[0], &[9], "1 of 1 bytes are left over"),
    ];
    for (datatype, shape, bytes, told) in table {
        let error = error(datatype, shape, bytes);
        assert!(error.starts_with("input \"x\": "), "{error}");
        assert!(error.contains(told), "{error} should contain {told}");
    }
}

#[test]
fn tensors_without_elements_take_no_bytes() {
    for datatype in Datatype::ALL {
        let tensor = decode("x", datatype, vec![3, 0, usize::MAX], &[]).unwrap();
        assert_eq!((tensor.datatype(), tensor.data().len()), (datatype, 0));
        assert_eq!(encoded_len(tensor.data()), 0);
    }
}

fn data() -> impl Strategy<Value = TensorData> {
    prop_oneof![
        vec(any::<bool>(), 0..40).prop_map(TensorData::Bool),
        vec(any::<u8>(), 0..40).prop_map(TensorData::Uint8),
        vec(any::<u16>(), 0..40).prop_map(TensorData::Uint16),
        vec(any::<u32>(), 0..40).prop_map(TensorData::Uint32),
        vec(any::<u64>(), 0..40).prop_map(TensorData::Uint64),
        vec(any::<i8>(), 0..40).prop_map(TensorData::Int8),
        vec(any::<i16>(), 0..40).prop_map(TensorData::Int16),
        vec(any::<i32>(), 0..40).prop_map(TensorData::Int32),
        vec(any::<i64>(), 0..40).prop_map(TensorData::Int64),
        vec(any::<u16>(), 0..40).prop_map(TensorData::Fp16),
        vec(any::<u16>(), 0..40).prop_map(TensorData::Bf16),
        // Every bit pattern, NaN with any payload too.
        vec(any::<u32>().prop_map(f32::from_bits), 0..40).prop_map(TensorData::Fp32),
        vec(any::<u64>().prop_map(f64::from_bits), 0..40).prop_map(TensorData::Fp64),
        vec(vec(any::<u8>(), 0..9), 0..40).prop_map(TensorData::Bytes),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(data in data(), offset in 0usize..8) {
        let mut bytes = vec![7; offset];
        encode(&data, &mut bytes);
        prop_assert_eq!(bytes.len(), offset + encoded_len(&data));
        let shape = vec![1, data.len()];
        // At any offset: a body does not align its blobs.
        let tensor = decode("x", data.datatype(), shape.clone(), &bytes[offset..]).unwrap();
        prop_assert_eq!(tensor.shape(), &shape);
        prop_assert_eq!(tensor.datatype(), data.datatype());
        // NaN differs from itself: bits are compared.
        prop_assert_eq!(bytes_of(tensor.data()), &bytes[offset..]);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        place in 0..Datatype::ALL.len(),
        shape in vec(0usize..5, 0..4),
        bytes in vec(prop_oneof![0u8..3, any::<u8>()], 0..40),
    ) {
        if let Ok(tensor) = decode("x", Datatype::ALL[place], shape.clone(), &bytes) {
            prop_assert_eq!(tensor.shape(), &shape);
            prop_assert_eq!(bytes_of(tensor.data()), bytes);
        }
    }
}
