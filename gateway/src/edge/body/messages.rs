//! The messages of a call of gRPC, each with a head of five bytes: whether it is packed, and its
//! length. Packed ones are unpacked before anybody reads them, within the bounds of
//! [`Packing::unpack`]; and what one call may send ends here, since whoever reads a single message
//! reads and drops all that come after it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};
use tonic::Status;

use crate::edge::body::metered::Metered;
use crate::edge::body::packing::Packing;
use crate::edge::problem::{Kind, Problem};

/// The header that says how messages are packed.
const ENCODING: &str = "grpc-encoding";
const HEAD: usize = 5;

/// What a call may send.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most bytes of a message, packed or not.
    pub limit: u64,
    /// How many times its size a message may unpack to.
    pub ratio: u32,
    pub sends: Sends,
}

/// How many messages a call has, and for how long they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sends {
    /// One, which counts until the call ends.
    One,
    /// Any number, which whoever reads them takes off the account.
    Taken,
    /// Any number, which count until the next one.
    Passing,
}

/// What of the present message is still to come.
#[derive(Debug)]
enum Part {
    /// Its head.
    Head,
    /// So many bytes, which go through as they are.
    Plain(usize),
    /// The whole of it, so many bytes without the head.
    Packed(usize),
}

/// A body of messages.
pub struct Messages {
    body: Metered,
    packing: Packing,
    bounds: Bounds,
    came: BytesMut,
    part: Part,
    /// Of a message whose head has been given.
    next: Option<Bytes>,
    /// Messages that have come whole.
    whole: u64,
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Messages({:?}, {:?})", self.packing, self.part)
    }
}

/// How the messages of a call are packed, taken off its headers. A way that is not known stays
/// there: the service says so.
pub fn take_packing(headers: &mut HeaderMap) -> Packing {
    let named = headers.get(ENCODING).map(HeaderValue::as_bytes);
    let packing = named.and_then(|name| Packing::named(std::str::from_utf8(name).ok()?));
    let Some(packing) = packing else { return Packing::Plain };
    headers.remove(ENCODING);
    packing
}

impl Messages {
    /// `body`, whose messages are packed as `packing` says, or not at all.
    pub fn new(body: Metered, packing: Packing, bounds: Bounds) -> Self {
        let (came, part, next) = (BytesMut::new(), Part::Head, None);
        Self { body, packing, bounds, came, part, next, whole: 0 }
    }

    /// A message has come whole.
    fn ends(&mut self) {
        self.part = Part::Head;
        self.whole += 1;
        let rest = self.came.len() as u64;
        match self.bounds.sends {
            Sends::One => {}
            Sends::Taken => self.body.account().leaves(rest),
            Sends::Passing => self.body.account().passes(rest),
        }
    }

    /// A frame that belongs to the present message alone goes through as it is.
    fn passes(&mut self, frame: &Bytes) -> bool {
        match self.part {
            Part::Plain(left) if self.came.is_empty() && frame.len() <= left => {
                self.part = Part::Plain(left - frame.len());
                if left == frame.len() {
                    self.ends();
                }
                true
            }
            _ => false,
        }
    }

    /// What can be given of that which has come.
    fn give(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            match self.part {
                Part::Head => {
                    if self.bounds.sends == Sends::One && self.whole > 0 && !self.came.is_empty() {
                        let detail = "more than one message came, wanted one";
                        return Err(Problem::new(Kind::InvalidRequest, detail));
                    }
                    let Some((head, _)) = self.came.split_first_chunk::<HEAD>() else {
                        return Ok(None);
                    };
                    let [flag, length @ ..] = *head;
                    let length = u32::from_be_bytes(length);
                    if u64::from(length) > self.bounds.limit {
                        return Err(too_large(length, self.bounds.limit));
                    }
                    if flag != 1 || self.packing == Packing::Plain {
                        // Any other flag is for the service to refuse.
                        self.part = Part::Plain(HEAD + length as usize);
                        continue;
                    }
                    self.came.advance(HEAD);
                    self.part = Part::Packed(length as usize);
                }
                Part::Plain(left) => {
                    let now = self.came.split_to(left.min(self.came.len())).freeze();
                    let left = left - now.len();
                    self.part = Part::Plain(left);
                    if left == 0 {
                        self.ends();
                    }
                    return Ok(Some(now).filter(|now| !now.is_empty()));
                }
                Part::Packed(length) if self.came.len() < length => return Ok(None),
                Part::Packed(length) => {
                    let packed = self.came.split_to(length);
                    let Bounds { limit, ratio, .. } = self.bounds;
                    let hold = |bytes| self.body.account().hold(bytes);
                    // Unpacking is work for a processor.
                    let message = tokio::task::block_in_place(|| {
                        self.packing.unpack(&packed, limit, ratio, hold)
                    })?;
                    // No longer than the limit, which is checked, but it may be set to more.
                    let length = u32::try_from(message.len())
                        .map_err(|_| too_large(u32::MAX, u64::from(u32::MAX)))?;
                    let mut head = BytesMut::with_capacity(HEAD);
                    head.put_u8(0);
                    head.put_u32(length);
                    self.ends();
                    self.next = Some(message).filter(|message| !message.is_empty());
                    return Ok(Some(head.freeze()));
                }
            }
        }
    }
}

fn too_large(length: u32, limit: u64) -> Problem {
    let detail =
        format!("the message has {length} bytes, more than the limit of {limit} (limits.body)");
    Problem::new(Kind::BodyTooLarge, detail)
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(next) = self.next.take() {
            return Poll::Ready(Some(Ok(Frame::data(next))));
        }
        loop {
            match self.give() {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(None) => {}
                Err(problem) => return Poll::Ready(Some(Err(problem.into()))),
            }
            let is_between = self.came.is_empty() && matches!(self.part, Part::Head);
            self.body.set_between(is_between);
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                None if is_between => return Poll::Ready(None),
                None => {
                    self.came.clear();
                    self.part = Part::Head;
                    let detail = "the message was cut off";
                    let problem = Problem::new(Kind::InvalidRequest, detail);
                    return Poll::Ready(Some(Err(problem.into())));
                }
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
            };
            match frame.into_data() {
                Ok(data) if self.passes(&data) => {
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(data) => self.came.extend_from_slice(&data),
                // Trailers carry nothing for us.
                Err(_) => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none() && self.came.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::Write as _;
    use std::sync::Arc;
    use std::time::Duration;

    use axum::body::Body;
    use futures_util::stream;
    use http_body_util::BodyExt;
    use proptest::prelude::*;
    use tonic::Code;
    use weighbridge_config::ByteSize;
    use weighbridge_config::settings::{Limits, Priority};

    use super::*;
    use crate::edge::body::metered::{Account, Patience};
    use crate::edge::permits::Permits;

    const BOUNDS: Bounds = Bounds { limit: 4 << 20, ratio: 100, sends: Sends::Passing };

    fn message(flag: u8, bytes: &[u8]) -> Vec<u8> {
        let mut message = vec![flag];
        message.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        message.extend(bytes);
        message
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    /// What is read of a body that comes in pieces of `size` bytes.
    async fn read(came: &[u8], size: usize, memory: u64) -> Result<Vec<u8>, Status> {
        read_as(BOUNDS, came, size, memory).await
    }

    async fn read_as(
        bounds: Bounds,
        came: &[u8],
        size: usize,
        memory: u64,
    ) -> Result<Vec<u8>, Status> {
        let pieces: Vec<Vec<u8>> = came.chunks(size).map(<[u8]>::to_vec).collect();
        let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)));
        let limits = Limits { body_memory: ByteSize::new(memory), ..Limits::default() };
        let limits = Limits { body: ByteSize::new(1024), ..limits };
        let account =
            Account::new(Arc::new(Permits::default()).body(&limits, Priority::High, &"".into()));
        let patience = Patience { still: Duration::from_secs(30), until: None };
        let metered = Metered::new(body, account, patience);
        let body = Messages::new(metered, Packing::Gzip, bounds);
        Ok(body.collect().await?.to_bytes().to_vec())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn packed_messages_are_unpacked_and_others_go_through() {
        let noise: Vec<u8> = (0..70_000).map(|_| rand::random()).collect();
        let came = [
            message(1, &gzip(b"one")),
            message(0, b"two"),
            message(0, b""),
            message(1, &gzip(b"")),
            message(1, &gzip(&noise)),
            // Not for us to judge.
            message(7, b"odd"),
        ];
        let wanted = [
            message(0, b"one"),
            message(0, b"two"),
            message(0, b""),
            message(0, b""),
            message(0, &noise),
            message(7, b"odd"),
        ];
        for size in [1, 2, 7, 4096, 1 << 20] {
            assert!(read(&came.concat(), size, 1 << 20).await.unwrap() == wanted.concat());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_too_much_or_cut_off_is_refused() {
        let zeros = gzip(&vec![0; 2 << 20]);
        let more = [gzip(&zeros), gzip(&vec![0; 64 << 20])].concat();
        let noise: Vec<u8> = (0..100_000).map(|_| rand::random()).collect();
        let huge = [&[1][..], &u32::MAX.to_be_bytes()].concat();
        for (came, code, fact) in [
            (message(1, &zeros), Code::ResourceExhausted, "decompression_ratio"),
            (message(1, &more), Code::ResourceExhausted, "limits.body"),
            (huge.clone(), Code::ResourceExhausted, "limits.body"),
            ([&[0][..], &huge[1..]].concat(), Code::ResourceExhausted, "limits.body"),
            (message(1, b"no gzip"), Code::InvalidArgument, "packed"),
            (message(1, &gzip(b"one"))[..9].to_vec(), Code::InvalidArgument, "cut off"),
            (message(1, b"")[..3].to_vec(), Code::InvalidArgument, "cut off"),
        ] {
            let status = read(&came, 4096, 16 << 20).await.unwrap_err();
            assert_eq!(status.code(), code, "{status}");
            assert!(status.message().contains(fact), "{status}");
        }
        // It takes its place in memory before it is whole.
        let packed = message(1, &gzip(&noise));
        let status = read(&packed, 4096, 150_000).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(read(&packed, 4096, 300_000).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_single_message_is_the_only_one() {
        let one = Bounds { sends: Sends::One, ..BOUNDS };
        let more = [message(0, b"one"), message(0, b"two")].concat();
        for size in [1, 7, 4096] {
            let status = read_as(one, &more, size, 1 << 20).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
            assert!(read_as(one, &more[..8], size, 1 << 20).await.is_ok());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn messages_that_have_passed_take_no_memory() {
        let many = message(0, &[7; 1000]).repeat(100);
        assert!(read(&many, 700, 4096).await.is_ok(), "a hundred thousand bytes in turn");
        let taken = Bounds { sends: Sends::Taken, ..BOUNDS };
        let status = read_as(taken, &many, 700, 4096).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "nobody took them: {status}");
    }

    proptest! {
        #[test]
        fn nothing_that_comes_panics(
            came in proptest::collection::vec(any::<u8>(), 0..200), size in 1usize..50,
        ) {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1).enable_time().build().unwrap();
            let came = [message(1, &gzip(&came)), came].concat();
            let _ = runtime.block_on(read(&came, size, 1 << 20));
        }
    }
}
