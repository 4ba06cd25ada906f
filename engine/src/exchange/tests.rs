use super::*;

fn spec(datatype: Datatype, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: "x".into(), datatype, shape: shape.to_vec(), labels: vec![] }
}

fn of_each_type(rows: usize) -> Vec<Tensor> {
    let n = rows * 2;
    let texts = (0..n).map(|i| format!("größe {i}").into_bytes()).collect();
    [
        TensorData::Bool((0..n).map(|i| i % 3 == 0).collect()),
        TensorData::Uint8((0..n).map(|i| i as u8).collect()),
        TensorData::Uint16((0..n).map(|i| i as u16).collect()),
        TensorData::Uint32((0..n).map(|i| i as u32).collect()),
        TensorData::Uint64((0..n).map(|i| i as u64).collect()),
        TensorData::Int8((0..n).map(|i| -(i as i8)).collect()),
        TensorData::Int16((0..n).map(|i| -(i as i16)).collect()),
        TensorData::Int32((0..n).map(|i| -(i as i32)).collect()),
        TensorData::Int64((0..n).map(|i| -(i as i64)).collect()),
        TensorData::Fp16((0..n).map(|i| half::f16::from_f32(i as f32 / 4.0).to_bits()).collect()),
        TensorData::Fp32((0..n).map(|i| i as f32 / 3.0).collect()),
        TensorData::Fp64((0..n).map(|i| i as f64 / 3.0).collect()),
        TensorData::Bytes(texts),
    ]
    .into_iter()
    .map(|data| Tensor::new(vec![rows, 2], data).unwrap())
    .collect()
}

#[test]
fn parts_joined_and_cut_again_are_the_same_for_every_datatype() {
    for (one, three) in of_each_type(1).into_iter().zip(of_each_type(3)) {
        let spec = spec(one.datatype(), &[-1, 2]);
        let (a, b) = ([one.clone()], [three.clone()]);
        let whole = gather(&spec, 0, &[&a, &b, &a]).unwrap();
        assert_eq!(whole.shape(), [5, 2]);
        assert_eq!(datatype(whole.datum_type()), Some(one.datatype()));
        assert_eq!(scatter(&whole, &[1, 3, 1]).unwrap(), [one.clone(), three.clone(), one]);
        let alone = gather(&spec, 0, &[&b]).unwrap();
        assert_eq!(scatter(&alone, &[3]).unwrap(), [three]);
    }
}

#[test]
fn unfit_inputs_are_refused_by_name() {
    let floats = [Tensor::new(vec![1, 2], TensorData::Fp32(vec![0.0; 2])).unwrap()];
    let wrong = |spec: &TensorSpec, parts: &[&[Tensor]]| {
        let error = gather(spec, 0, parts).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Run);
        assert!(error.to_string().contains("\"x\""), "{error}");
        error.to_string()
    };
    assert!(wrong(&spec(Datatype::Int64, &[-1, 2]), &[&floats]).contains("FP32"));
    assert!(wrong(&spec(Datatype::Fp32, &[-1, 3]), &[&floats]).contains("[-1, 3]"));
    assert!(wrong(&spec(Datatype::Fp32, &[-1]), &[&floats]).contains("shape"));
    assert!(wrong(&spec(Datatype::Fp32, &[-1, 2]), &[&[]]).contains("missing"));
    let wide = [Tensor::new(vec![1, 3], TensorData::Fp32(vec![0.0; 3])).unwrap()];
    assert!(wrong(&spec(Datatype::Fp32, &[-1, -1]), &[&floats, &wide]).contains("batch"));
    let brains = [Tensor::new(vec![1, 2], TensorData::Bf16(vec![0x3f80; 2])).unwrap()];
    let of_brains = spec(Datatype::Bf16, &[-1, 2]);
    assert!(wrong(&of_brains, &[&brains]).contains("BF16 cannot be served"));
    assert!(wrong(&of_brains, &[&brains, &brains]).contains("BF16 cannot be served"));
    let latin1 = [Tensor::new(vec![2], TensorData::Bytes(vec![b"a".into(), vec![0xe9]])).unwrap()];
    assert!(wrong(&spec(Datatype::Bytes, &[-1]), &[&latin1]).contains("element 1"));
}

#[test]
fn an_empty_batch_passes_through() {
    let none = [Tensor::new(vec![0, 2], TensorData::Fp32(vec![])).unwrap()];
    let whole = gather(&spec(Datatype::Fp32, &[-1, 2]), 0, &[&none, &none]).unwrap();
    assert_eq!(scatter(&whole, &[0, 0]).unwrap(), [none[0].clone(), none[0].clone()]);
}
