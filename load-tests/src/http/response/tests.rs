use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCONTENT-length: 5\r\n\
    weighbridge-served-version:  7 \r\n\r\nhello";

/// Status and served version of the response, fed in the given pieces; `None` if more is needed.
fn feed(
    reader: &mut ResponseReader,
    pieces: &[&[u8]],
) -> Result<Option<(u16, bool, Option<String>)>, ParseError> {
    for (index, piece) in pieces.iter().enumerate() {
        reader.space()[..piece.len()].copy_from_slice(piece);
        if let Step::Done(response) = reader.advance(piece.len())? {
            assert_eq!(index, pieces.len() - 1, "done before the last piece");
            let text = |range| String::from_utf8_lossy(reader.bytes(range)).into_owned();
            let version = response.source.version.map(text);
            return Ok(Some((response.status, response.close, version)));
        }
    }
    Ok(None)
}

#[test]
fn a_response_is_read_wherever_it_is_split() {
    let expected = Ok(Some((200, false, Some("7".to_owned()))));
    let mut reader = ResponseReader::default();
    for at in 1..OK.len() {
        let (front, back) = OK.split_at(at);
        assert_eq!(feed(&mut reader, &[front, back]), expected, "split at {at}");
        assert!(reader.is_empty(), "ready for the next response");
    }
    let bytes: Vec<&[u8]> = OK.chunks(1).collect();
    assert_eq!(feed(&mut reader, &bytes), expected);
}

#[test]
fn a_body_may_be_larger_than_the_buffer() {
    let mut reader = ResponseReader::default();
    let head = b"HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 50000\r\n\r\n";
    assert_eq!(feed(&mut reader, &[head]), Ok(None));
    let piece = [b'x'; 10_000];
    let answer = feed(&mut reader, &[&piece, &piece, &piece, &piece, &piece]);
    assert_eq!(answer, Ok(Some((503, true, None))));
}

#[test]
fn interim_responses_are_skipped_and_empty_ones_end_at_the_head() {
    let mut reader = ResponseReader::default();
    let both = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    assert_eq!(feed(&mut reader, &[both]), Ok(Some((204, false, None))));
    let old = b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(feed(&mut reader, &[old]), Ok(Some((200, true, None))));
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_reason() {
    let cases: [(&[u8], &str); 7] = [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "chunked"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "no content-length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\n", "not a number"),
        (b"HTTP/1.1 200 OK\r\ncontent-length 5\r\n\r\n", "no colon"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab", "more than one response"),
        (b"HTTP/2 200\r\n\r\n", "not HTTP/1"),
        (b"HTTP/1.1 abc\r\n\r\n", "status code"),
    ];
    for (bytes, reason) in cases {
        let error = feed(&mut ResponseReader::default(), &[bytes]).expect_err("refused");
        assert!(error.contains(reason), "{error:?} does not say {reason:?}");
    }
}

#[test]
fn an_endless_head_is_refused() {
    let mut reader = ResponseReader::default();
    let mut head = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    head.resize(BUFFER, b'a');
    assert!(feed(&mut reader, &[&head]).expect_err("refused").contains("16 KiB"));
}

#[test]
fn who_answered_and_the_body_are_at_hand_until_the_next_response() {
    let answer =
        b"HTTP/1.1 200 OK\r\nweighbridge-served-version: 1\r\nWeighbridge-Variant: stable\r\n\
        server-timing: queue;dur=0.4, compute;dur=5\r\nweighbridge-rescued-from: 2\r\nRetry-After: 3\r\n\
        content-length: 5\r\n\r\nhello";
    for at in 1..answer.len() {
        let mut reader = ResponseReader::default();
        let mut done = None;
        for piece in [&answer[..at], &answer[at..]] {
            reader.space()[..piece.len()].copy_from_slice(piece);
            if let Step::Done(response) = reader.advance(piece.len()).unwrap() {
                done = Some(response);
            }
        }
        let Response { source, body, .. } = done.expect("the whole answer came");
        let text = |range: Option<Range<usize>>| {
            range.map(|range| String::from_utf8_lossy(reader.bytes(range)).into_owned())
        };
        let Source { version, rescued_from, variant, timing, retry_after } = source;
        let seen = [version, rescued_from, variant, timing, retry_after, body].map(text);
        let timing = "queue;dur=0.4, compute;dur=5";
        let expected = ["1", "2", "stable", timing, "3", "hello"];
        assert_eq!(seen, expected.map(|text| Some(text.to_owned())));
    }
}

#[test]
fn a_body_is_kept_while_it_fits_to_the_last_byte() {
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    let room = BUFFER - head(BUFFER).len();
    for (length, kept) in [(room, true), (room + 1, false)] {
        let mut reader = ResponseReader::default();
        let mut left = [head(length).as_bytes(), &vec![b'x'; length]].concat();
        let response = loop {
            let count = reader.space().len().min(left.len()).min(1000);
            assert!(count > 0, "there is always space for what is still to come");
            reader.space()[..count].copy_from_slice(&left[..count]);
            left.drain(..count);
            if let Step::Done(response) = reader.advance(count).unwrap() {
                break response;
            }
        };
        assert!(left.is_empty());
        assert_eq!(response.body.map(|body| body.len()), kept.then_some(length));
    }
}
