//! The bodies of the fuzz targets: plain functions that must neither panic nor hang on any input.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{empty, join, sink};

use crate::credentials::Credentials;
use crate::incoming::Incoming;
use crate::{http, socks};

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

/// An HTTP head, at once and through the reader that limits it.
pub fn http_head(data: &[u8]) {
    for credentials in [None, Credentials::new("user", "password").ok()] {
        if let Ok(Some((_, length))) = http::decode(data, credentials.as_ref()) {
            assert!(length <= data.len(), "a head longer than its input");
        }
        let mut incoming = Incoming::new(join(data, sink()));
        finish(http::read_request(&mut incoming, credentials.as_ref()));
    }
    finish(Incoming::new(join(empty(), sink())).first());
}

/// Runs a future whose input is all there: it must end within one poll.
fn finish<F: Future>(future: F) {
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(
        matches!(polled, Poll::Ready(_)),
        "waits although all input is there"
    );
}
