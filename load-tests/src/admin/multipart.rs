//! The form that an upload is.

use crate::random::Random;

/// Content type and body of an upload of one ONNX file.
pub(super) fn upload(onnx: &[u8]) -> (String, Vec<u8>) {
    let mut random = Random::new(onnx.len() as u64);
    let boundary = loop {
        let boundary = format!("weighbridge-{:016x}", random.bits());
        if !contains(onnx, boundary.as_bytes()) {
            break boundary;
        }
    };
    let head = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"model\"; filename=\"model.onnx\"\r\n\
         content-type: application/octet-stream\r\n\r\n"
    );
    let mut body = head.into_bytes();
    body.extend_from_slice(onnx);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundary_stands_around_the_file_and_nowhere_in_it() {
        let (content_type, body) = upload(b"the file");
        let (_, boundary) = content_type.split_once("boundary=").unwrap();
        let text = String::from_utf8(body).unwrap();
        let parts: Vec<&str> = text.split(&format!("--{boundary}")).collect();
        assert_eq!(parts.len(), 3);
        assert!(parts[1].ends_with("\r\n\r\nthe file\r\n"), "{parts:?}");
        assert_eq!(parts[2], "--\r\n");
        // The boundary depends on the length alone, so a file can be made that holds it.
        let hostile = upload(&vec![b'x'; boundary.len()]).0;
        let (_, held) = hostile.split_once("boundary=").unwrap();
        assert_eq!(held.len(), boundary.len());
        assert_ne!(upload(held.as_bytes()).0, hostile);
    }
}
