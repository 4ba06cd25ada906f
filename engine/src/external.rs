//! Weights that lie in files of their own beside the model.
//!
//! A tensor names a file, where in it its bytes begin, and how many there are. All of that comes
//! from whoever made the model, so nothing of it is believed: names that lead elsewhere, places
//! beyond the file and lengths that do not fit the shape are refused.

use std::collections::{BTreeMap, BTreeSet};

use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto};

use crate::error::{Error, ErrorKind};
use crate::inspect::each_graph;

/// Files by the location that the model gives them: paths relative to it, with `/`.
pub type ExternalFiles<'a> = BTreeMap<String, &'a [u8]>;

/// What all tensors together may take, as a multiple of the files' bytes. Tied weights are two
/// tensors of the same bytes; many of the same bytes are a trap.
const MOST_COPIES: usize = 4;

/// The files that `proto` needs, without those whose names are refused when it is loaded.
pub(crate) fn locations(proto: &ModelProto) -> Vec<String> {
    let mut found = BTreeSet::new();
    if let Some(graph) = &proto.graph {
        each_graph(graph, &mut |graph| {
            let tensors = graph.node.iter().flat_map(|n| &n.attribute).filter_map(|a| a.t.as_ref());
            let external = graph.initializer.iter().chain(tensors).filter(|t| is_external(t));
            found.extend(external.map(|t| location(t).unwrap_or_default()));
        });
    }
    found.into_iter().collect()
}

fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location == Some(DataLocation::External as i32)
}

fn entry<'a>(tensor: &'a TensorProto, key: &str) -> Option<&'a str> {
    tensor.external_data.iter().find(|e| e.key == key).map(|e| &*e.value)
}

/// True for the name of a file beside or below the model: relative, with `/`, leading nowhere else.
pub fn is_external_name(name: &str) -> bool {
    let is_safe =
        |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\0']);
    name.split('/').all(is_safe)
}

/// The file's name with a leading `./` removed; the reason when it is not the name of a file
/// beside or below the model.
fn location(tensor: &TensorProto) -> Result<String, String> {
    let given = entry(tensor, "location").unwrap_or_default();
    let plain = given.strip_prefix("./").unwrap_or(given);
    if is_external_name(plain) {
        return Ok(plain.to_owned());
    }
    Err(format!("its location \"{given}\" is not a file beside or below the model"))
}

/// Puts the bytes of `files` into the tensors of `proto` that refer to them.
///
/// # Errors
/// [`ErrorKind::Unsupported`] when a file is missing, [`ErrorKind::Load`] for anything that does
/// not fit, [`ErrorKind::TooLarge`] when the tensors take far more than the files have.
pub(crate) fn resolve(proto: &mut ModelProto, files: &ExternalFiles<'_>) -> Result<(), Error> {
    let needed = locations(proto);
    let missing: Vec<&str> =
        needed.iter().filter(|l| !files.contains_key(*l)).map(String::as_str).collect();
    let Some(graph) = &mut proto.graph else { return Ok(()) };
    let total: usize = files.values().map(|bytes| bytes.len()).sum();
    let mut left = total.saturating_mul(MOST_COPIES);
    each_tensor(graph, &mut |tensor| {
        if !is_external(tensor) {
            return Ok(());
        }
        let name = tensor.name.clone();
        let refused = |kind: ErrorKind, why: String| {
            Error::new(kind, format!("loading the model: weight \"{name}\": {why}"))
        };
        let file = location(tensor).map_err(|why| refused(ErrorKind::Load, why))?;
        let Some(bytes) = files.get(&file) else {
            let message = format!(
                "loading the model: its weights lie in files of their own, of which these were \
                 not pushed with it: {}; push them too, or save the model as one file with \
                 onnx.save(onnx.load(path), path, save_as_external_data=False)",
                missing.join(", ")
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let part = part(tensor, bytes).map_err(|why| {
            refused(ErrorKind::Load, format!("{why} (file \"{file}\", {} bytes)", bytes.len()))
        })?;
        left = left.checked_sub(part.len()).ok_or_else(|| {
            let why =
                format!("all tensors take more than {MOST_COPIES} times the files' {total} bytes");
            refused(ErrorKind::TooLarge, why)
        })?;
        tensor.raw_data = part.to_vec();
        tensor.data_location = None;
        tensor.external_data.clear();
        Ok(())
    })
}

/// The bytes of `tensor` in its file, or why there are none.
fn part<'a>(tensor: &TensorProto, file: &'a [u8]) -> Result<&'a [u8], String> {
    let number = |key: &str| -> Result<Option<usize>, String> {
        let unfit = |text: &str| format!("its {key} \"{text}\" is not a number of bytes");
        entry(tensor, key).map(|text| text.parse().map_err(|_| unfit(text))).transpose()
    };
    let wanted = size(tensor).ok_or_else(|| {
        format!("its shape {:?} and type {} have no size in bytes", tensor.dims, tensor.data_type)
    })?;
    let offset = number("offset")?.unwrap_or(0);
    let length = number("length")?.unwrap_or(wanted);
    if length != wanted {
        return Err(format!("its length is {length} bytes, its shape wants {wanted}"));
    }
    let end = offset.checked_add(length);
    end.and_then(|end| file.get(offset..end))
        .ok_or_else(|| format!("{length} bytes from {offset} on lie beyond the end of the file"))
}

/// The bytes that a tensor's shape and type take; `None` for texts, unknown types and overflow.
fn size(tensor: &TensorProto) -> Option<usize> {
    let one = |count: usize, dim: &i64| count.checked_mul(usize::try_from(*dim).ok()?);
    let count = tensor.dims.iter().try_fold(1usize, one)?;
    let width = match DataType::try_from(tensor.data_type).ok()? {
        DataType::Bool | DataType::Int8 | DataType::Uint8 => 1,
        DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16 => 2,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Double | DataType::Int64 | DataType::Uint64 | DataType::Complex64 => 8,
        DataType::Complex128 => 16,
        _ => return None,
    };
    count.checked_mul(width)
}

/// Visits the weights and the constants in attributes, those of inner graphs too.
fn each_tensor(
    graph: &mut GraphProto,
    visit: &mut dyn FnMut(&mut TensorProto) -> Result<(), Error>,
) -> Result<(), Error> {
    graph.initializer.iter_mut().try_for_each(&mut *visit)?;
    for attribute in graph.node.iter_mut().flat_map(|n| &mut n.attribute) {
        attribute.t.iter_mut().try_for_each(&mut *visit)?;
        for inner in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            each_tensor(inner, visit)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::StringStringEntryProto;

    fn tensor(dims: &[i64], entries: &[(&str, &str)]) -> TensorProto {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        TensorProto {
            name: "w".into(),
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            data_location: Some(DataLocation::External as i32),
            external_data: entries.iter().map(entry).collect(),
            ..Default::default()
        }
    }

    fn resolved(tensors: Vec<TensorProto>, file: &[u8]) -> Result<ModelProto, Error> {
        let graph = GraphProto { initializer: tensors, ..Default::default() };
        let mut proto = ModelProto { graph: Some(graph), ..Default::default() };
        let files = ExternalFiles::from([("w.bin".to_owned(), file)]);
        resolve(&mut proto, &files)?;
        Ok(proto)
    }

    #[test]
    fn a_part_of_the_file_becomes_the_tensor() {
        let file: Vec<u8> = (0..40).collect();
        for location in ["w.bin", "./w.bin"] {
            let entries = [("location", location), ("offset", "8"), ("length", "16")];
            let proto = resolved(vec![tensor(&[2, 2], &entries)], &file).unwrap();
            let made = &proto.graph.as_ref().unwrap().initializer[0];
            assert_eq!(made.raw_data, &file[8..24]);
            assert!(made.external_data.is_empty() && !is_external(made));
        }
        let whole = resolved(vec![tensor(&[10], &[("location", "w.bin")])], &file).unwrap();
        assert_eq!(whole.graph.unwrap().initializer[0].raw_data, file);
        assert!(locations(&ModelProto::default()).is_empty());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let file = [0; 40];
        type Refused<'a> = (&'a [i64], &'a [(&'a str, &'a str)], &'a str);
        let cases: &[Refused<'_>] = &[
            (&[2], &[("location", "../w.bin")], "not a file beside"),
            (&[2], &[("location", "/w.bin")], "not a file beside"),
            (&[2], &[("location", "a/../../w.bin")], "not a file beside"),
            (&[2], &[("location", "C:\\w.bin")], "not a file beside"),
            (&[2], &[("location", "")], "not a file beside"),
            (&[2], &[], "not a file beside"),
            (&[11], &[("location", "w.bin")], "beyond the end"),
            (&[2], &[("location", "w.bin"), ("offset", "36")], "beyond the end"),
            (&[2], &[("location", "w.bin"), ("offset", "18446744073709551615")], "beyond the end"),
            (&[2], &[("location", "w.bin"), ("offset", "-4")], "offset"),
            (&[2], &[("location", "w.bin"), ("length", "4")], "wants 8"),
            (&[-1], &[("location", "w.bin")], "no size"),
            (&[i64::MAX, i64::MAX], &[("location", "w.bin")], "no size"),
        ];
        for (dims, entries, why) in cases {
            let error = resolved(vec![tensor(dims, entries)], &file).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Load, "{error}");
            assert!(error.to_string().contains(why), "\"{why}\" is not in: {error}");
        }
        let other = tensor(&[2], &[("location", "v.bin")]);
        let error = resolved(vec![other], &file).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("v.bin"), "{error}");
    }

    #[test]
    fn tied_weights_are_fine_and_a_thousand_of_them_are_not() {
        let copies = |count: usize| vec![tensor(&[10], &[("location", "w.bin")]); count];
        assert!(resolved(copies(2), &[0; 40]).is_ok());
        assert_eq!(resolved(copies(1000), &[0; 40]).unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
