//! Says what a file that is not ONNX looks like, from its first bytes.

/// A short noun phrase such as "a web page (HTML)", or `None` when nothing is recognised.
pub(super) fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("an empty file");
    }
    let by_magic: &[(&[u8], &str)] = &[
        (
            b"PK\x03\x04",
            "a zip archive (a PyTorch .pt, a Keras .keras or an .npz file is one): export it to ONNX",
        ),
        (b"\x1f\x8b", "a gzip archive: unpack it first"),
        (b"BZh", "a bzip2 archive: unpack it first"),
        (b"\xfd7zXZ", "an xz archive: unpack it first"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it first"),
        (b"\x89HDF", "an HDF5 file (a Keras .h5 model is one): export it to ONNX"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"GGUF", "a GGUF model, which this engine does not read"),
        (b"%PDF", "a PDF document"),
        (b"\x89PNG", "a PNG image"),
        (b"\x7fELF", "a program (ELF)"),
        (
            b"version https://git-lfs",
            "a Git LFS pointer: run git lfs pull and push the file itself",
        ),
    ];
    if let Some((_, what)) = by_magic.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(what);
    }
    // Pickle protocols 2 to 5 open with the byte 0x80 and the protocol's number.
    if matches!(bytes, [0x80, 2..=5, ..]) {
        return Some(
            "a Python pickle (a scikit-learn or joblib file is one): export it with skl2onnx",
        );
    }
    if bytes.get(4..8) == Some(b"TFL3") {
        return Some("a TensorFlow Lite model: export it to ONNX");
    }
    looks_like_text(bytes)
}

fn looks_like_text(bytes: &[u8]) -> Option<&'static str> {
    let head = &bytes[..bytes.len().min(512)];
    // A character may be cut at the end of the head; control bytes never occur in text.
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(e) if head.len() - e.valid_up_to() < 4 => {
            std::str::from_utf8(&head[..e.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    let start = text.trim_start().to_ascii_lowercase();
    Some(match start.chars().next() {
        _ if start.starts_with("<!doctype html") || start.starts_with("<html") => {
            "a web page (HTML): the download address probably needs a login"
        }
        Some('<') => "an XML document",
        Some('{' | '[') => "a JSON document",
        _ => "a text file",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_mistakes_are_named() {
        for (bytes, word) in [
            (&b""[..], "empty"),
            (b"<!DOCTYPE html><html>", "HTML"),
            (b"PK\x03\x04rest", "zip"),
            (b"\x80\x04\x95\x00", "pickle"),
            (b"{\"a\": 1}", "JSON"),
            (b"version https://git-lfs.github.com/spec/v1", "LFS"),
            (b"hello there", "text"),
        ] {
            let what = looks_like(bytes).unwrap_or("nothing");
            assert!(what.contains(word), "{what}");
        }
        assert_eq!(looks_like(b"\x08\x08\x12\x07skl2onnx"), None);
    }
}
