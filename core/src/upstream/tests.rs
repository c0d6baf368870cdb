//! Dialogues with proxies of both kinds: what is sent, what every answer means, and answers that nobody wrote.

use proptest::prelude::*;

use super::*;
use crate::{
    config::{HttpHeader, HttpLogin, HttpProxy, HttpVersion},
    testing::fuzz_upstream,
};

fn credentials() -> ProxyCredentials {
    ProxyCredentials {
        username: "Aladdin".to_owned(),
        password: "open sesame".into(),
    }
}

fn proxy(kind: ProxyKind) -> UpstreamProxy {
    UpstreamProxy {
        host: "proxy.example".to_owned(),
        port: 3128,
        kind,
        credentials: None,
    }
}

fn http(login: HttpLogin) -> UpstreamProxy {
    proxy(ProxyKind::Http(HttpProxy {
        login,
        ..HttpProxy::default()
    }))
}

fn sent(dialogue: &mut Dialogue) -> Vec<u8> {
    dialogue
        .poll_output()
        .map_or(Vec::new(), |bytes| bytes.expose().to_vec())
}

fn request(options: HttpProxy, host: &str, credentials: Option<&ProxyCredentials>) -> String {
    let proxy = proxy(ProxyKind::Http(options));
    let mut dialogue = Dialogue::start(&proxy, (host, 1194), credentials).unwrap();
    String::from_utf8(sent(&mut dialogue)).unwrap()
}

/// What an HTTP proxy's answer leads to.
fn answered(login: HttpLogin, with: bool, text: &str) -> Result<Progress, UpstreamError> {
    let credentials = credentials();
    let target = ("vpn.example", 443);
    let mut dialogue = Dialogue::start(&http(login), target, with.then_some(&credentials))?;
    dialogue.handle_input(text.as_bytes())
}

#[test]
fn the_server_is_asked_for_by_its_name() {
    assert_eq!(
        request(HttpProxy::default(), "vpn.example", None),
        "CONNECT vpn.example:1194 HTTP/1.0\r\nHost: vpn.example:1194\r\n\r\n"
    );
    let options = HttpProxy {
        version: HttpVersion::V11,
        agent: Some("a browser".to_owned()),
        headers: vec![
            HttpHeader {
                name: "X-Gate".to_owned(),
                value: "7".into(),
            },
            HttpHeader {
                name: "host".to_owned(),
                value: "other".into(),
            },
        ],
        ..HttpProxy::default()
    };
    assert_eq!(
        request(options, "2001:db8::1", None),
        "CONNECT [2001:db8::1]:1194 HTTP/1.1\r\nUser-Agent: a browser\r\nX-Gate: 7\r\nhost: other\r\n\r\n"
    );
}

#[test]
fn credentials_go_by_basic() {
    // The example of RFC 7617 §2.
    let text = request(HttpProxy::default(), "vpn.example", Some(&credentials()));
    assert!(
        text.ends_with("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"),
        "{text}"
    );
    let colon = ProxyCredentials {
        username: "a:b".to_owned(),
        ..credentials()
    };
    let refused = Dialogue::start(&http(HttpLogin::AtOnce), ("vpn.example", 1), Some(&colon));
    assert!(matches!(refused, Err(UpstreamError::Credentials(_))));
}

#[test]
fn a_target_that_would_be_read_otherwise_is_not_sent() {
    for host in ["", "fe80::1%eth0", "a b", "a\r\nX: y", "a/b", "user@host"] {
        let got = Dialogue::start(&http(HttpLogin::Never), (host, 1), None).unwrap_err();
        assert_eq!(got, UpstreamError::Target(host.to_owned()));
    }
}

#[test]
fn the_stream_begins_behind_the_answer_however_it_is_cut() {
    for head in [
        "HTTP/1.1 200 Connection established\r\nVia: 1.0 gate\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.0 200 OK\n\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let whole = [head.as_bytes(), &[0, 2, 10, 13, 10]].concat();
        for cut in 0..whole.len() {
            let mut dialogue = Dialogue::start(&http(HttpLogin::Never), ("a", 1), None).unwrap();
            let (first, second) = whole.split_at(cut);
            let mut rest = match dialogue.handle_input(first).unwrap() {
                Progress::More => match dialogue.handle_input(second).unwrap() {
                    Progress::Open(rest) => rest,
                    Progress::More => panic!("{head:?} cut at {cut} does not end"),
                },
                Progress::Open(rest) => [rest.as_slice(), second].concat(),
            };
            assert_eq!(rest, [0, 2, 10, 13, 10], "{head:?} cut at {cut}");
            rest.clear();
            assert!(
                dialogue.handle_input(b"HTTP/1.1 200 \r\n\r\n").is_err(),
                "it is over"
            );
        }
    }
}

#[test]
fn a_login_that_is_wanted_is_told_from_one_that_is_refused_and_from_one_that_is_not_spoken() {
    let basic =
        "HTTP/1.1 407 Login\r\nProxy-Authenticate: NTLM\r\nproxy-authenticate: Basic realm=\"x\"\r\n\r\n";
    let ntlm = "HTTP/1.1 407 Login\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Digest realm=\"a, Basic\"\r\n\r\n";
    for login in [HttpLogin::WhenAsked, HttpLogin::AtOnce] {
        assert_eq!(
            answered(login, false, basic),
            Err(UpstreamError::WantsCredentials)
        );
        assert_eq!(
            answered(login, true, basic),
            Err(UpstreamError::CredentialsRefused)
        );
    }
    assert_eq!(
        answered(HttpLogin::NotInClear, false, basic),
        Err(UpstreamError::NotInClear)
    );
    assert_eq!(
        answered(HttpLogin::Never, false, basic),
        Err(UpstreamError::LoginOff)
    );
    let method = UpstreamError::Method("NTLM or Digest".to_owned());
    assert!(method.is_final() && method.to_string().contains("NTLM or Digest"));
    assert_eq!(answered(HttpLogin::WhenAsked, false, ntlm), Err(method));
    let silent = answered(HttpLogin::WhenAsked, false, "HTTP/1.1 407 Login\r\n\r\n");
    assert!(matches!(silent, Err(UpstreamError::Malformed(_))));
}

#[test]
fn a_refusal_is_told_in_the_proxys_words() {
    let said = |text: &str| answered(HttpLogin::Never, false, text).unwrap_err();
    assert_eq!(
        said("HTTP/1.1 403 Not this port\r\nA: b\r\n\r\n<html>"),
        UpstreamError::Refused("403 Not this port".to_owned())
    );
    assert_eq!(
        said("HTTP/1.0 502 Bad Gateway\r\n\r\n"),
        UpstreamError::Unreachable("502 Bad Gateway".to_owned())
    );
    assert_eq!(
        said("HTTP/1.1 101 Switching\r\n\r\n"),
        UpstreamError::Refused("101 Switching".to_owned())
    );
    let long = said(&format!("HTTP/1.1 404 {}\r\n\r\n", "x".repeat(9000)));
    assert!(matches!(long, UpstreamError::Refused(text) if text.len() == 160));
}

#[test]
fn what_is_no_proxy_or_breaks_the_rules_is_told_at_once() {
    let said = |text: &str| answered(HttpLogin::Never, false, text).unwrap_err();
    for text in [
        "S",
        "SSH-2.0-OpenSSH\r\n",
        "\0\x0e8",
        "HTTP/2.0 200 OK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        assert_eq!(said(text), UpstreamError::NotHttp, "{text:?}");
    }
    for text in [
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.12 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 200 O\u{1b}K\r\n\r\n",
        "HTTP/1.1 200 OK\r\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        "HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
    ] {
        assert!(matches!(said(text), UpstreamError::Malformed(_)), "{text:?}");
    }
}

#[test]
fn an_answer_without_end_is_bounded() {
    let endless = |piece: &str| {
        let mut dialogue = Dialogue::start(&http(HttpLogin::Never), ("a", 1), None).unwrap();
        assert_eq!(
            dialogue.handle_input(b"HTTP/1.1 100 Go on\r\n").unwrap(),
            Progress::More
        );
        (0..=MAX_ANSWER_BYTES / piece.len()).find_map(|_| dialogue.handle_input(piece.as_bytes()).err())
    };
    assert_eq!(endless("A: b\r\n"), Some(UpstreamError::TooLong));
    assert_eq!(endless("aaaaaaaa"), Some(UpstreamError::TooLong));
    assert_eq!(
        endless("\r\nHTTP/1.1 100 Go on\r\n"),
        Some(UpstreamError::TooLong)
    );
}

fn socks(host: &str, with: bool) -> Dialogue {
    let credentials = credentials();
    let target = (host, 1194);
    Dialogue::start(&proxy(ProxyKind::Socks5), target, with.then_some(&credentials)).unwrap()
}

#[test]
fn socks_opens_a_way_by_name_with_and_without_a_login() {
    let mut plain = socks("vpn.example", false);
    assert_eq!(sent(&mut plain), [5, 1, 0]);
    assert_eq!(plain.handle_input(&[5]).unwrap(), Progress::More);
    assert!(plain.poll_output().is_none());
    assert_eq!(plain.handle_input(&[0]).unwrap(), Progress::More);
    assert_eq!(sent(&mut plain), b"\x05\x01\x00\x03\x0bvpn.example\x04\xaa");
    let opened = plain
        .handle_input(&[5, 0, 0, 1, 10, 0, 0, 1, 0, 80, 77, 78])
        .unwrap();
    assert_eq!(opened, Progress::Open(vec![77, 78]));

    let mut login = socks("2001:db8::1", true);
    assert_eq!(sent(&mut login), [5, 1, 2]);
    login.handle_input(&[5, 2]).unwrap();
    assert_eq!(sent(&mut login), b"\x01\x07Aladdin\x0bopen sesame");
    login.handle_input(&[5, 0]).unwrap();
    let wanted = [
        &[5, 1, 0, 4, 0x20, 1, 0xd, 0xb8],
        [0; 11].as_slice(),
        &[1, 4, 0xaa],
    ]
    .concat();
    assert_eq!(sent(&mut login), wanted);
    let reply = [&[5, 0, 0, 3, 2, b'a', b'b', 0, 80], [1].as_slice()].concat();
    for byte in &reply[..8] {
        assert_eq!(login.handle_input(&[*byte]).unwrap(), Progress::More);
    }
    assert_eq!(login.handle_input(&reply[8..]).unwrap(), Progress::Open(vec![1]));
}

#[test]
fn socks_refusals_are_told_apart() {
    let after = |with, input: &[&[u8]]| {
        let mut dialogue = socks("192.0.2.1", with);
        input.iter().find_map(|bytes| dialogue.handle_input(bytes).err())
    };
    assert_eq!(after(false, &[b"HTTP/1.1 400"]), Some(UpstreamError::NotSocks));
    assert_eq!(after(false, &[&[5, 255]]), Some(UpstreamError::WantsCredentials));
    assert_eq!(after(true, &[&[5, 255]]), Some(UpstreamError::NoLogin));
    assert_eq!(
        after(true, &[&[5, 2], &[1, 1]]),
        Some(UpstreamError::CredentialsRefused)
    );
    assert!(matches!(
        after(false, &[&[5, 2]]),
        Some(UpstreamError::Malformed(_))
    ));
    assert!(matches!(
        after(false, &[&[5, 0, 5, 0]]),
        Some(UpstreamError::Malformed(_))
    ));
    assert!(matches!(
        after(false, &[&[5, 0], &[5, 0, 0, 9]]),
        Some(UpstreamError::Malformed(_))
    ));
    let reply = |code| after(false, &[&[5, 0], &[5, code]]).unwrap();
    assert_eq!(
        reply(5),
        UpstreamError::Unreachable("connection refused".to_owned())
    );
    assert!(matches!(reply(2), UpstreamError::Refused(_)));
    assert_eq!(reply(200), UpstreamError::Refused("code 200".to_owned()));
}

proptest! {
    #[test]
    fn no_answer_panics_and_cutting_it_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_upstream::http(&bytes);
        fuzz_upstream::socks(&bytes);
    }

    #[test]
    fn answers_that_look_right_do_not_panic(
        status in "HTTP/1\\.[01] [1-5][0-9]{2}( [ -~]{0,20})?\r?\n",
        fields in prop::collection::vec("([A-Za-z-]{1,8}|Proxy-Authenticate): [ -~]{0,40}\r?\n", 0..5),
        rest in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let text = format!("{status}{}\r\n", fields.concat());
        fuzz_upstream::http(&[text.as_bytes(), &rest].concat());
    }

    #[test]
    fn replies_that_look_right_do_not_panic(code in 0_u8..10, kind in 0_u8..6, rest in prop::collection::vec(any::<u8>(), 0..40)) {
        fuzz_upstream::socks(&[&[5, 0, 5, code, 0, kind], rest.as_slice()].concat());
        fuzz_upstream::socks(&[&[5, 2, 1, 0, 5, code, 0, kind], rest.as_slice()].concat());
    }
}
