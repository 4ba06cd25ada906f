//! One non-blocking keep-alive connection that carries one request at a time.
//!
//! Sized for a generator that shares its cores with the server: a request is one `write` of bytes
//! serialised long ago, an answer usually one `read` into a buffer that is never reallocated.
//! Events are edge-triggered; a read that does not fill the buffer has emptied the socket
//! (epoll(7)), which saves the second read that would only say so.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::http::{Response, ResponseReader, Step};

/// Why a request got no answer that could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The connection could not be opened.
    Connect,
    /// The connection ended before the answer was whole.
    Closed,
    /// The bytes were not a response that can be measured.
    Malformed(&'static str),
}

impl Failure {
    /// The name that reports count it under.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Closed => "closed",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// What became of the connection when it was driven.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to report; more events will come.
    Pending,
    /// The request in flight was answered. Not to be used again when `close` is set.
    Answered(Response),
    /// The request in flight is lost, and the connection with it.
    Failed(Failure),
    /// The server closed the connection while nothing was in flight: no harm done.
    IdleClosed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// So many bytes of the request are written.
    Writing(usize),
    Reading,
}

/// A connection and the request it carries, if any.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    reader: ResponseReader,
    state: State,
    connected: bool,
}

impl Connection {
    /// Begins to connect; a failure may also show later, as [`Failure::Connect`].
    pub fn open(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        // Registered once for both: an edge-triggered "writable" costs nothing unless a write
        // had filled the socket.
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, reader: ResponseReader::default(), state: State::Idle, connected: false })
    }

    /// True while a request is unanswered.
    pub fn is_busy(&self) -> bool {
        self.state != State::Idle
    }

    /// Sends `request`, or as much of it as goes now; the rest follows on events.
    pub fn send(&mut self, request: &[u8]) -> Result<(), Failure> {
        debug_assert!(!self.is_busy(), "one request at a time");
        self.state = State::Writing(0);
        self.write(request)
    }

    /// Drives the connection after an event. `request` is the one given to [`Self::send`].
    pub fn on_event(&mut self, request: &[u8]) -> Progress {
        // An answer may come before the request is written in full (a refusal, for one), so
        // reading follows whatever was written.
        if matches!(self.state, State::Writing(_))
            && let Err(failure) = self.write(request)
        {
            return Progress::Failed(failure);
        }
        self.read()
    }

    /// A part of the response just returned.
    pub fn part(&self, range: &Option<Range<usize>>) -> Option<&[u8]> {
        range.clone().map(|range| self.reader.bytes(range))
    }

    fn write(&mut self, request: &[u8]) -> Result<(), Failure> {
        if !self.connected {
            match self.is_connected() {
                Ok(true) => self.connected = true,
                Ok(false) => return Ok(()),
                Err(_) => return Err(Failure::Connect),
            }
        }
        let State::Writing(mut written) = self.state else {
            return Ok(());
        };
        while written < request.len() {
            match self.stream.write(&request[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.state = State::Writing(written);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Failure::Closed),
            }
        }
        self.state = State::Reading;
        Ok(())
    }

    /// A non-blocking connect is complete once the socket has a peer and no error.
    fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn read(&mut self) -> Progress {
        if !self.connected {
            return Progress::Pending;
        }
        loop {
            let space = self.reader.space();
            let room = space.len();
            let count = match self.stream.read(space) {
                Ok(0) => return self.ended(),
                // Bytes that nobody asked for: the connection is out of step.
                Ok(_) if self.state == State::Idle => return Progress::IdleClosed,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Pending,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.ended(),
            };
            match self.reader.advance(count) {
                Err(reason) => return Progress::Failed(Failure::Malformed(reason)),
                Ok(Step::NeedMore) if count < room => return Progress::Pending,
                Ok(Step::NeedMore) => {}
                Ok(Step::Done(mut response)) => {
                    // An answer that overtook its own request leaves the connection unusable.
                    response.close |= matches!(self.state, State::Writing(_));
                    self.state = State::Idle;
                    return Progress::Answered(response);
                }
            }
        }
    }

    fn ended(&self) -> Progress {
        match self.state {
            State::Idle => Progress::IdleClosed,
            _ => Progress::Failed(Failure::Closed),
        }
    }
}
