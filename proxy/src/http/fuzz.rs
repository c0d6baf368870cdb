//! The bodies of the HTTP fuzz targets: whatever a parser takes, it takes again, and the same, from what is made of it.

use super::body::{Body, Length, request_length, response_length};
use super::fields;
use super::head::{RequestHead, ResponseHead, Syntax};
use super::request::{Ask, ask};

/// A request's head.
pub(crate) fn request(data: &[u8]) {
    let Ok(Some((head, bytes))) = RequestHead::decode(data) else {
        return;
    };
    assert!(bytes <= data.len(), "a head longer than its input");
    let encoded = head.encode();
    let again = RequestHead::decode(&encoded);
    assert_eq!(
        again,
        Ok(Some((head.clone(), encoded.len()))),
        "reads differently"
    );
    let (Ok(length), Ok(Ask::Forward(forward))) = (request_length(&head), ask(&head)) else {
        return;
    };
    let upgrade = fields::upgrade(&head, length);
    let sent = fields::request(&head, &forward, length, upgrade.as_deref());
    let decoded = RequestHead::decode(&sent);
    // What goes to the far end may have a few fields more than what came in; nothing else may be wrong with it.
    if !matches!(decoded, Err(Syntax::TooManyFields { .. })) {
        let (onward, bytes) = decoded.expect("our own syntax").expect("a complete head");
        assert_eq!(bytes, sent.len(), "something hides behind the head");
        assert_eq!(onward.fields.values("Host").count(), 1, "one Host");
        assert_eq!(request_length(&onward), Ok(length), "another length");
        assert!(!onward.fields.has("Proxy-Authorization"), "a secret is passed on");
    }
}

/// A response's head.
pub(crate) fn response(data: &[u8]) {
    let Ok(Some((head, bytes))) = ResponseHead::decode(data) else {
        return;
    };
    assert!(bytes <= data.len(), "a head longer than its input");
    let encoded = head.encode();
    let again = ResponseHead::decode(&encoded);
    assert_eq!(
        again,
        Ok(Some((head.clone(), encoded.len()))),
        "reads differently"
    );
    for method in ["GET", "HEAD"] {
        let Ok(length) = response_length(&head, method) else {
            continue;
        };
        let onward = fields::Onward {
            length,
            closes: true,
            tells_length: false,
        };
        let sent = fields::response(&head, onward);
        let decoded = ResponseHead::decode(&sent);
        if !matches!(decoded, Err(Syntax::TooManyFields { .. })) {
            let (passed, bytes) = decoded.expect("our own syntax").expect("a complete head");
            assert_eq!(bytes, sent.len(), "something hides behind the head");
            assert_eq!(passed.status, head.status);
            assert!(!passed.fields.has("Proxy-Authenticate"));
        }
    }
}

/// A body in chunks: at once and byte by byte it is the same, and so is what it is turned into.
pub(crate) fn chunked(data: &[u8]) {
    let whole = decode(data, data.len(), false);
    assert_eq!(whole, decode(data, 1, false), "bytes one by one read differently");
    let again = decode(data, data.len(), true);
    if let (Some((_, plain)), Some((_, chunks))) = (whole, again) {
        let (taken, decoded) = decode(&chunks, chunks.len(), false).expect("our own chunks");
        assert_eq!((taken, decoded), (chunks.len(), plain), "reads differently");
    }
}

/// How long the body is, and what is in it; `None` where it is malformed or incomplete.
fn decode(data: &[u8], at_a_time: usize, as_chunks: bool) -> Option<(usize, Vec<u8>)> {
    let mut body = Body::new(Length::Chunked, as_chunks);
    let mut out = Vec::new();
    let (mut taken, mut given) = (0, 0);
    loop {
        let input = data.get(taken..given).unwrap_or_default();
        taken += body.advance(input, &mut out).ok()?;
        assert!(taken <= given, "took more than there is");
        if body.has_ended() {
            return Some((taken, out));
        }
        if given >= data.len() {
            return None;
        }
        given = given.saturating_add(at_a_time.max(1)).min(data.len());
    }
}
