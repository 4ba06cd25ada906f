//! The little of HTTP/1.1 that a load generator needs, and nothing it would have to pay for.

pub mod exchange;
pub mod request;
pub mod response;

pub use request::{Header, Target};
pub use response::{Head, Response, ResponseReader, Source, Step};
