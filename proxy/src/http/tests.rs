//! HTTP heads without a socket: what is taken, what is answered, what is left for the flow.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, join};

use super::*;
use crate::connect::{ConnectError, Target};
use crate::detect::{Protocol, Request};

const CONNECT: &str = "CONNECT inner.example:443 HTTP/1.1\r\nHost: inner.example:443\r\n\r\n";

fn known() -> Credentials {
    Credentials::new("Aladdin", "open:sesame").unwrap()
}

fn connect_to(host: &str, port: u16) -> Asked {
    Asked::Connect(Request {
        protocol: Protocol::HttpConnect,
        target: Target::parse(host, port).unwrap(),
    })
}

async fn read(input: &[u8], credentials: Option<&Credentials>) -> (Result<Asked, Rejected>, Vec<u8>) {
    let mut incoming = Incoming::new(join(input, tokio::io::sink()));
    let asked = read_request(&mut incoming, credentials).await;
    let (mut stream, mut rest) = incoming.into_parts();
    stream.read_to_end(&mut rest).await.unwrap();
    (asked, rest)
}

async fn answer_to(input: &str, credentials: Option<&Credentials>) -> String {
    String::from_utf8(read(input.as_bytes(), credentials).await.0.unwrap_err().answer).unwrap()
}

/// Status line and fields are as the answer's own length says, and the connection is announced to end.
fn status_of(answer: &str) -> &str {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())),
        "{answer}"
    );
    assert!(head.ends_with("\r\nConnection: close"), "{answer}");
    head.split(' ').nth(1).unwrap()
}

#[tokio::test]
async fn connect_takes_names_and_both_kinds_of_addresses() {
    for (target, wanted) in [
        ("inner.example:443", connect_to("inner.example", 443)),
        ("192.0.2.1:80", connect_to("192.0.2.1", 80)),
        ("[2001:db8::1]:8080", connect_to("2001:db8::1", 8080)),
    ] {
        for version in ["1.0", "1.1"] {
            let input = format!("CONNECT {target} HTTP/{version}\r\nHost: {target}\r\n\r\nearly");
            let (asked, rest) = read(input.as_bytes(), None).await;
            assert_eq!(asked.unwrap(), wanted, "{input}");
            assert_eq!(rest, b"early");
        }
    }
    let (asked, _) = read(b"CONNECT inner.example:22 HTTP/1.0\r\n\r\n", None).await;
    assert_eq!(
        asked.unwrap(),
        connect_to("inner.example", 22),
        "old clients send no Host"
    );
}

#[tokio::test]
async fn a_head_that_arrives_byte_by_byte_is_the_same_head() {
    let (mut client, server) = duplex(1);
    let mut incoming = Incoming::new(server);
    let (asked, sent) = tokio::join!(
        read_request(&mut incoming, None),
        client.write_all(CONNECT.as_bytes())
    );
    sent.unwrap();
    assert_eq!(asked.unwrap(), connect_to("inner.example", 443));
    assert!(incoming.waiting().is_empty());
}

#[tokio::test]
async fn bad_targets_are_answered_with_what_is_wrong() {
    for (target, text) in [
        ("inner.example", "port is missing"),
        ("inner.example:", "port is missing"),
        ("inner.example:+80", "port is missing"),
        ("inner.example:65536", "port is missing"),
        ("inner.example:0", "port 0"),
        (":443", "host is missing"),
        ("2001:db8::1:443", "byte 0x3a"),
        ("[2001:db8::1:443", "byte 0x5b"),
        ("[inner]:443", "no IPv6 address"),
        ("user:pw@inner.example:443", "byte 0x3a"),
        ("user@inner.example:443", "byte 0x40"),
        ("http://inner.example:443", "byte 0x3a"),
        ("/path:443", "byte 0x2f"),
        ("127.1:443", "ends in a number"),
        ("a..b:443", "empty label"),
    ] {
        let answer = answer_to(&format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n"), None).await;
        assert_eq!(status_of(&answer), "400", "{target}");
        assert!(answer.contains(text), "{target}: {answer}");
    }
}

#[tokio::test]
async fn a_connect_that_announces_a_body_is_refused() {
    for field in [
        "Content-Length: 5",
        "Content-Length: 00",
        "Content-Length: 0, 0",
        "Content-Length: 0\r\nContent-Length: 0",
        "content-length: -1",
        "Transfer-Encoding: chunked",
        "transfer-encoding: identity",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
    ] {
        let answer = answer_to(
            &format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n{field}\r\n\r\nhello"),
            None,
        )
        .await;
        assert_eq!(status_of(&answer), "400", "{field}");
    }
    let (asked, rest) = read(b"CONNECT a:1 HTTP/1.1\r\nContent-Length: 0\r\n\r\nhello", None).await;
    assert_eq!(asked.unwrap(), connect_to("a", 1));
    assert_eq!(rest, b"hello");
}

#[tokio::test]
async fn what_is_not_served_says_so_in_its_status() {
    for (input, status) in [
        (
            "GET http://inner.example/ HTTP/1.1\r\nHost: inner.example\r\n\r\n",
            "501",
        ),
        (
            "POST https://inner.example/ HTTP/1.1\r\nHost: inner.example\r\nContent-Length: 3\r\n\r\nabc",
            "501",
        ),
        ("POST / HTTP/1.1\r\nHost: x\r\n\r\n", "405"),
        ("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "400"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nHost: b:1\r\n\r\n", "400"),
        ("CONNECT a:1 HTTP/1.1\r\nHost : a:1\r\n\r\n", "400"),
        ("CONNECT a:1 HTTP/1.1\r\nX: a\r\n folded\r\n\r\n", "400"),
        ("CONNECT a:1 HTTP/2.0\r\n\r\n", "505"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
        ("CONNECT a:1\r\n\r\n", "400"),
        ("hello\r\n", "400"),
        ("C\0NNECT a:1 HTTP/1.1\r\n\r\n", "400"),
    ] {
        assert_eq!(status_of(&answer_to(input, None).await), status, "{input:?}");
    }
    assert!(
        answer_to("POST / HTTP/1.1\r\n\r\n", None)
            .await
            .contains("\r\nAllow: GET, HEAD, CONNECT\r\n")
    );
}

#[tokio::test]
async fn heads_have_limits() {
    let fields = |count: usize| "X: y\r\n".repeat(count);
    let head = |rest: &str| format!("CONNECT a:1 HTTP/1.1\r\n{rest}\r\n");
    assert!(read(head(&fields(64)).as_bytes(), None).await.0.is_ok());
    assert_eq!(status_of(&answer_to(&head(&fields(65)), None).await), "431");

    let filler = |bytes: usize| format!("X: {}\r\n", "y".repeat(bytes));
    let fixed = head(&filler(0)).len();
    assert!(
        read(head(&filler(HEAD_BYTES - fixed)).as_bytes(), None)
            .await
            .0
            .is_ok()
    );
    assert_eq!(
        status_of(&answer_to(&head(&filler(HEAD_BYTES - fixed + 1)), None).await),
        "431"
    );
    assert_eq!(status_of(&answer_to(&"A".repeat(HEAD_BYTES), None).await), "414");
}

#[tokio::test]
async fn a_proxy_request_needs_the_password_and_the_page_does_not() {
    let with = |fields: &str| format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n{fields}\r\n");
    let right = "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ==\r\n";
    let (asked, _) = read(with(right).as_bytes(), Some(&known())).await;
    assert_eq!(asked.unwrap(), connect_to("a", 1));
    for fields in [
        "",
        "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuOnNlc2FtZT==\r\n",
        "Authorization: Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ==\r\n",
        &right.repeat(2),
    ] {
        let answer = answer_to(&with(fields), Some(&known())).await;
        assert_eq!(status_of(&answer), "407", "{fields}");
        assert!(answer.contains("\r\nProxy-Authenticate: Basic realm=\"tunless\", charset=\"UTF-8\"\r\n"));
    }
    assert_eq!(
        status_of(&answer_to("GET http://a/ HTTP/1.1\r\n\r\n", Some(&known())).await),
        "407"
    );
    assert!(matches!(
        read(b"GET / HTTP/1.1\r\n\r\n", Some(&known())).await.0,
        Ok(Asked::Page(_))
    ));
}

#[tokio::test]
async fn the_page_says_what_the_port_is() {
    let page_for = async |input: &str| match read(input.as_bytes(), None).await.0.unwrap() {
        Asked::Page(page) => String::from_utf8(page).unwrap(),
        Asked::Connect(request) => panic!("{request:?}"),
    };
    let page = page_for("GET / HTTP/1.1\r\nHost: 127.0.0.1:1080\r\n\r\n").await;
    assert_eq!(status_of(&page), "200");
    assert!(page.contains("socks5h://"), "{page}");
    let head = page_for("HEAD / HTTP/1.1\r\nHost: 127.0.0.1:1080\r\n\r\n").await;
    assert_eq!(Some(head.as_str()), page.split_inclusive("\r\n\r\n").next());
}

#[test]
fn each_failure_has_a_status_and_a_remedy() {
    use ConnectError as E;
    let target = Target::parse("db.corp.example", 443).unwrap();
    for (error, status, kind) in [
        (E::Refused, "502", "connection_refused"),
        (E::Reset, "502", "connection_terminated"),
        (E::HostUnreachable, "502", "destination_ip_unroutable"),
        (E::NetworkUnreachable, "502", "destination_ip_unroutable"),
        (E::NameNotFound, "502", "dns_error"),
        (E::NoResolver, "502", "dns_error"),
        (E::ResolverFailed, "502", "dns_error"),
        (E::TimedOut, "504", "connection_timeout"),
        (E::TunnelDown, "503", "destination_unavailable"),
        (E::NotAllowed, "403", "http_request_denied"),
        (E::TooManyConnections, "503", "connection_limit_reached"),
    ] {
        let answer = String::from_utf8(connect::failure(&target, error)).unwrap();
        assert_eq!(status_of(&answer), status, "{error}");
        assert!(
            answer.contains(&format!("\r\nProxy-Status: tunless; error={kind}")),
            "{answer}"
        );
        assert!(
            answer.contains(&format!("tunless: db.corp.example:443: {error}\n")),
            "{answer}"
        );
        assert_eq!(answer.contains("\r\nRetry-After: "), status == "503", "{answer}");
    }
}

#[tokio::test]
async fn an_early_end_is_an_early_end() {
    for length in 0..CONNECT.len() {
        let (asked, _) = read(&CONNECT.as_bytes()[..length], None).await;
        assert!(matches!(asked.unwrap_err().why, RequestError::Closed), "{length}");
    }
}

proptest! {
    #[test]
    fn no_input_makes_it_panic(data in proptest::collection::vec(any::<u8>(), 0..600), text in "[ -~\r\n]{0,200}") {
        crate::testing::http_head(&data);
        crate::testing::http_head(text.as_bytes());
        crate::testing::http_head(format!("CONNECT {text} HTTP/1.1\r\n\r\n").as_bytes());
        crate::testing::http_head(format!("CONNECT a:1 HTTP/1.1\r\n{text}\r\n\r\n").as_bytes());
    }
}
