//! A connection by hand: what is sent on it and what comes back is known to the byte, and
//! nothing is ever sent twice, as a client with a pool might.

use std::io;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::answer::Answer;

/// One HTTP/1.1 connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    came: BytesMut,
}

impl Connection {
    /// Connects to `address` (host and port).
    pub async fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, came: BytesMut::new() })
    }

    /// Sends a request and waits for its answer.
    pub async fn exchange(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        self.send(method, path, body).await?;
        let mut answer = self.receive().await?;
        answer.asked = format!("{method} {path}");
        Ok(answer)
    }

    /// Sends a request.
    pub async fn send(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<()> {
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n");
        let request = [head.as_bytes(), body].concat();
        self.stream.write_all(&request).await
    }

    /// Waits for an answer; the gateway's all have a length.
    pub async fn receive(&mut self) -> io::Result<Answer> {
        let head_end = loop {
            if let Some(place) = self.came.windows(4).position(|four| four == b"\r\n\r\n") {
                break place;
            }
            self.more().await?;
        };
        let head = self.came.split_to(head_end + 4);
        let (status, headers) = parse_head(&head)?;
        let length = headers.get("content-length").and_then(|v| v.to_str().ok()?.parse().ok());
        let length: usize = length.ok_or_else(|| odd("an answer without a length"))?;
        while self.came.len() < length {
            self.more().await?;
        }
        let body: Bytes = self.came.split_to(length).freeze();
        Ok(Answer { status, headers, body, asked: String::new() })
    }

    /// True when the gateway has closed its side.
    pub async fn is_closed(&mut self) -> bool {
        self.more().await.is_err()
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.came).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the gateway")),
            _ => Ok(()),
        }
    }
}

fn parse_head(head: &[u8]) -> io::Result<(StatusCode, HeaderMap)> {
    let text = std::str::from_utf8(head).map_err(|_| odd("a head that is no text"))?;
    let mut lines = text.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.ok_or_else(|| odd("no status line"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let name: HeaderName = name.parse().map_err(|_| odd("a header's name"))?;
        headers.append(name, HeaderValue::from_str(value).map_err(|_| odd("a header's value"))?);
    }
    Ok((status, headers))
}

fn odd(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
