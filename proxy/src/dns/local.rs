//! Names that no server is asked about: this host's own, and those that exist nowhere (RFC 6761, RFC 7686).

use super::message::{Code, Request, TYPE_A, TYPE_AAAA, TYPE_ANY, TYPE_PTR};

/// Time to live of what never changes.
const TTL_SECONDS: u32 = 3600;
const LOCALHOST: &[u8] = b"\x09localhost\0";

/// The answer to what can be answered here.
pub(super) fn answer(request: &Request) -> Option<Vec<u8>> {
    let labels: Vec<&[u8]> = request.labels.iter().map(Vec::as_slice).collect();
    let known = |kind: u16, data: &[u8]| {
        let records = if request.kind == kind {
            vec![(kind, TTL_SECONDS, data.to_vec())]
        } else {
            Vec::new()
        };
        Some(request.answer(Code::NoError, &records, None))
    };
    match labels.as_slice() {
        [.., b"localhost"] if request.kind == TYPE_AAAA => {
            known(TYPE_AAAA, &std::net::Ipv6Addr::LOCALHOST.octets())
        }
        [.., b"localhost"] => known(TYPE_A, &[127, 0, 0, 1]),
        [.., b"127", b"in-addr", b"arpa"] => known(TYPE_PTR, LOCALHOST),
        [b"1", zeros @ .., b"ip6", b"arpa"]
            if zeros.len() == 31 && zeros.iter().all(|label| label == b"0") =>
        {
            known(TYPE_PTR, LOCALHOST)
        }
        [.., b"invalid" | b"onion"] => Some(request.answer(Code::NameError, &[], None)),
        _ if request.kind == TYPE_ANY => Some(request.answer_any()),
        _ => None,
    }
}
