//! The bodies of the fuzz targets: plain functions that must neither panic nor hang on any input.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{empty, join, sink};

use crate::credentials::Credentials;
use crate::incoming::Incoming;
use crate::socks::header;
use crate::{dns, http, socks};

/// Everything a SOCKS5 client may send, with and without credentials.
pub fn socks5(data: &[u8]) {
    for credentials in [None, Credentials::new("user", "password").ok()] {
        let mut incoming = Incoming::new(join(data, sink()));
        finish(socks::v5::read_request(&mut incoming, credentials.as_ref()));
        assert!(
            incoming.waiting().len() <= data.len(),
            "bytes appeared from nowhere"
        );
    }
}

/// Everything a SOCKS4 client may send behind the version, with and without credentials.
pub fn socks4(data: &[u8]) {
    for credentials in [None, Credentials::new("user", "password").ok()] {
        let mut incoming = Incoming::new(join(data, sink()));
        finish(socks::v4::read_request(&mut incoming, credentials.as_ref()));
        assert!(
            incoming.waiting().len() <= data.len(),
            "bytes appeared from nowhere"
        );
    }
}

/// A datagram of a SOCKS5 client; what is understood can be written again.
pub fn socks5_datagram(data: &[u8]) {
    let Some((destination, payload)) = header::decode(data) else {
        return;
    };
    match destination {
        header::Destination::Address(address) => {
            let mut again = Vec::new();
            header::encode(&mut again, address, payload);
            assert_eq!(header::decode(&again), Some((destination, payload)));
            assert!(again.len() <= data.len(), "it grew");
        }
        header::Destination::Name(name, port) => {
            let length = u8::try_from(name.len()).unwrap_or_default();
            let rebuilt = [&[0, 0, 0, 3, length], name, &port.to_be_bytes(), payload].concat();
            assert_eq!(rebuilt, data);
        }
    }
}

/// The head of an HTTP request, what it asks for and what becomes of it.
pub fn http_head(data: &[u8]) {
    http::fuzz::request(data);
    finish(Incoming::new(join(empty(), sink())).first());
}

/// The head of an HTTP response.
pub fn http_response(data: &[u8]) {
    http::fuzz::response(data);
}

/// A body in chunks.
pub fn http_chunked(data: &[u8]) {
    http::fuzz::chunked(data);
}

/// A message to the name service, and everything that may be made of it without asking anybody.
pub fn dns_request(data: &[u8]) {
    match dns::message::read(data) {
        dns::message::Incoming::Ignore => {}
        dns::message::Incoming::Answer(answer) => assert!(answer.get(2).is_some_and(|high| high & 0x80 != 0)),
        dns::message::Incoming::Ask(request) => {
            let made = [
                request.fail(dns::ResolveError::TunnelDown),
                request.answer_any(),
                request.fit_datagram(vec![0; 5000]),
            ];
            for answer in made {
                assert!(answer.len() < 512, "a short answer is long");
            }
            assert!(request.is_answered_by(&request.answer_any()));
        }
    }
}

/// Runs a future whose input is all there: it must end within one poll.
fn finish<F: Future>(future: F) {
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(
        matches!(polled, Poll::Ready(_)),
        "waits although all input is there"
    );
}
