//! Requests: what goes in and what comes out, byte for byte, each line with the text that wants it so.

#![expect(clippy::too_many_lines, reason = "tables")]

use super::lab::{HEAD, Lab, Step, say};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const OK_PASSED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.1 tunless\r\n\r\nok";

/// The fields every request needs.
fn get(fields: &str) -> String {
    format!("GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

fn post(fields: &str, body: &str) -> String {
    format!("POST http://a.test/x HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n{body}")
}

#[tokio::test(start_paused = true)]
async fn what_two_readers_could_read_differently_goes_nowhere() {
    let smuggled = "GET http://a.test/smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (source, request, status) in [
        (
            "9112 §6.3 (3)",
            post(&format!("Content-Length: 5\r\n{chunked}"), "0\r\n\r\n"),
            "400",
        ),
        (
            "9112 §6.3 (3)",
            post(&format!("{chunked}Content-Length: 0\r\n"), "0\r\n\r\n"),
            "400",
        ),
        (
            "9112 §6.3 (5)",
            post("Content-Length: 5\r\nContent-Length: 6\r\n", "abcdef"),
            "400",
        ),
        (
            "9112 §6.3 (5)",
            post("Content-Length: 5\r\nContent-Length: 05\r\n", "abcde"),
            "400",
        ),
        ("9112 §6.3 (5)", post("Content-Length: 5, 5\r\n", "abcde"), "400"),
        ("9110 §8.6", post("Content-Length: +5\r\n", "abcde"), "400"),
        ("9110 §8.6", post("Content-Length: -5\r\n", "abcde"), "400"),
        ("9110 §8.6", post("Content-Length: 5 5\r\n", "abcde"), "400"),
        ("9110 §8.6", post("Content-Length: 0x5\r\n", "abcde"), "400"),
        ("9110 §8.6", post("Content-Length:\r\n", "abcde"), "400"),
        (
            "9110 §8.6",
            post("Content-Length: 18446744073709551616\r\n", ""),
            "400",
        ),
        (
            "9110 §8.6",
            post("Content-Length: 000000000000000000005\r\n", "abcde"),
            "400",
        ),
        (
            "9112 §6.1",
            post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
            "400",
        ),
        ("9112 §6.1", post(&chunked.repeat(2), "0\r\n\r\n"), "400"),
        ("9112 §6.1", post("Transfer-Encoding: identity\r\n", ""), "400"),
        (
            "9112 §6.1",
            post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
            "400",
        ),
        (
            "9112 §6.1",
            post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
            "400",
        ),
        (
            "9112 §6.1",
            post("Transfer-Encoding: chunked;x\r\n", "0\r\n\r\n"),
            "400",
        ),
        (
            "9112 §6.1",
            post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
            "400",
        ),
        (
            "9112 §6.1",
            post("Transfer-Encoding: ,chunked\r\n", "0\r\n\r\n"),
            "400",
        ),
        ("9112 §6.1", post("Transfer-Encoding:\r\n", ""), "400"),
        (
            "9112 §6.1",
            post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"),
            "400",
        ),
        (
            "9112 §6.1",
            post(chunked, "0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0"),
            "400",
        ),
        (
            "9112 §5.1",
            post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
            "400",
        ),
        ("9112 §5.1", post("Content-Length\t: 5\r\n", "abcde"), "400"),
        ("9112 §5.1", get(": empty\r\n"), "400"),
        ("9112 §5.1", get("no colon\r\n"), "400"),
        ("9110 §5.6.2", get("N\u{e4}me: x\r\n"), "400"),
        ("9110 §5.6.2", get("a(b): x\r\n"), "400"),
        ("9112 §5.2", get("X: a\r\n folded\r\n"), "400"),
        (
            "9112 §5.2",
            get("X: a\r\n\tTransfer-Encoding: chunked\r\n"),
            "400",
        ),
        ("9112 §2.2", get("").replacen("\r\n", "\r\n ", 1), "400"),
        ("9112 §2.2", get("X: a\nTransfer-Encoding: chunked\r\n"), "400"),
        ("9112 §2.2", get("").replace("\r\n", "\n"), "400"),
        ("9112 §2.2", get("X: a\rTransfer-Encoding: chunked\r\n"), "400"),
        ("9110 §5.5", get("X: a\0b\r\n"), "400"),
        ("9110 §5.5", get("X: a\x1bb\r\n"), "400"),
        ("9110 §5.5", get("X: a\x7fb\r\n"), "400"),
        (
            "9112 §3",
            "GET  http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9112 §3",
            "GET\thttp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9112 §3",
            "GET http://a.test/ x HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9112 §3",
            "GET http://a.test/ HTTP/1.1 \r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9112 §3",
            "GET http://a.test/ HTTP/1.1 HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9112 §3",
            "GET http://a.test/\u{fc} HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9112 §3",
            "GE(T http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9112 §2.3",
            "GET http://a.test/ http/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        ("9112 §2.3", "GET http://a.test/\r\n\r\n".into(), "400"),
        (
            "9110 §2.5",
            "GET http://a.test/ HTTP/2.0\r\nHost: a.test\r\n\r\n".into(),
            "505",
        ),
        ("9112 §3.2", get("Host: b.test\r\n"), "400"),
        ("9112 §3.2", get("Host: a.test\r\n"), "400"),
        ("9112 §3.2", "GET http://a.test/ HTTP/1.1\r\n\r\n".into(), "400"),
        (
            "9112 §3.2",
            "GET http://a.test/ HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9112 §3.2",
            "GET http://a.test/ HTTP/1.1\r\nHost: a@b.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9112 §3.2",
            "GET http://a.test/ HTTP/1.1\r\nHost: a.test/x\r\n\r\n".into(),
            "400",
        ),
        (
            "9112 §3.2",
            "GET http://a.test/ HTTP/1.1\r\nHost:\r\n\r\n".into(),
            "400",
        ),
        (
            "9110 §4.2.4",
            "GET http://u:p@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9110 §4.2.4",
            "GET http://b.test@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9110 §7.1",
            "GET http://a.test/#x HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9110 §4.2.1",
            "GET http:///x HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9110 §4.2.1",
            "GET http://a.test:0/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9110 §4.2.1",
            "GET http://a.test:8o/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9110 §4.2.1",
            "GET http://a%2etest/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "3986 §7.4",
            "GET http://2130706433/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9110 §4.2.2",
            "GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "501",
        ),
        (
            "9110 §4.2.2",
            "GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "501",
        ),
        (
            "9112 §3.2.4",
            "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9112 §3.2.3",
            "GET a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "400",
        ),
        (
            "9110 §7.6.2",
            "TRACE http://a.test/ HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: -1\r\n\r\n".into(),
            "400",
        ),
        (
            "9110 §9.3.8",
            "TRACE http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\na".into(),
            "400",
        ),
    ] {
        let lab = Lab::new(vec![vec![HEAD, say(OK)]]);
        let got = lab.talk(format!("{request}{smuggled}")).await.got;
        assert!(
            got.starts_with(&format!("HTTP/1.1 {status} ")),
            "{source}: {request:?}: {got}"
        );
        assert!(
            got.contains("\r\nConnection: close\r\n\r\n"),
            "{source}: {request:?}: {got}"
        );
        assert_eq!(
            got.matches("\r\nContent-Length: ").count(),
            1,
            "one answer: {source}: {request:?}: {got}"
        );
        assert_eq!(lab.received(), Vec::<String>::new(), "{source}: {request:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn malformed_chunks_end_the_request_and_both_connections() {
    let smuggled = "GET http://a.test/smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for body in [
        "0x5\r\nabcde\r\n0\r\n\r\n",
        "+5\r\nabcde\r\n0\r\n\r\n",
        "-1\r\nabcde\r\n0\r\n\r\n",
        " 5\r\nabcde\r\n0\r\n\r\n",
        "5 \r\nabcde\r\n0\r\n\r\n",
        "5 ;x\r\nabcde\r\n0\r\n\r\n",
        "5\nabcde\r\n0\r\n\r\n",
        "5;x\nabcde\r\n0\r\n\r\n",
        "5;x\ry\r\nabcde\r\n0\r\n\r\n",
        "\r\nabcde\r\n0\r\n\r\n",
        "g\r\nabcde\r\n0\r\n\r\n",
        "5\r\nabcdef\r\n0\r\n\r\n",
        "5\r\nabcde0\r\n\r\n",
        "5\r\nabcde\n0\r\n\r\n",
        "5\r\nabcde\r0\r\n\r\n",
        "10000000000000005\r\nabcde\r\n0\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX: \0\r\n\r\n",
    ] {
        let lab = Lab::new(vec![vec![], vec![HEAD, say(OK)]]);
        let got = lab
            .talk(post("Transfer-Encoding: chunked\r\n", body) + smuggled)
            .await
            .got;
        assert!(got.starts_with("HTTP/1.1 400 "), "{body:?}: {got}");
        assert_eq!(got.matches("HTTP/1.1 ").count(), 1, "{body:?}: {got}");
        let received = lab.received();
        assert_eq!(received.len(), 1, "{body:?}");
        assert!(
            !received[0].contains("0\r\n\r\n") && !received[0].contains("smuggled"),
            "{body:?}: {received:?}"
        );
    }
}

/// A request, what the far end must get of it, what it answers, what the client must get of that.
struct Passed {
    source: &'static str,
    request: String,
    received: &'static str,
    response: &'static str,
    got: &'static str,
}

fn passed(source: &'static str, request: String, received: &'static str) -> Passed {
    Passed {
        source,
        request,
        received,
        response: OK,
        got: OK_PASSED,
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_passed_on_as_they_are_meant() {
    let line = |line: &str| format!("{line} HTTP/1.1\r\nHost: other.test\r\n\r\n");
    for row in [
        passed(
            "9112 §3.2.2",
            line("GET http://a.test/x?y=http://b/"),
            "GET /x?y=http://b/ HTTP/1.1\r\nHost: a.test\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9110 §4.2.3",
            line("GET HTTP://A.Test:80"),
            "GET / HTTP/1.1\r\nHost: a.test\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9110 §4.2.3",
            line("GET http://a.test:?q"),
            "GET /?q HTTP/1.1\r\nHost: a.test\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9110 §7.2",
            line("GET http://a.test:8080/"),
            "GET / HTTP/1.1\r\nHost: a.test:8080\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9110 §7.2",
            line("GET http://[2001:DB8::1]/"),
            "GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9110 §7.2",
            line("GET http://[2001:db8::1]:81/"),
            "GET / HTTP/1.1\r\nHost: [2001:db8::1]:81\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "ours: curl 7.88",
            "GET http://[fd88::2]/ HTTP/1.1\r\nHost: fd88::2\r\n\r\n".into(),
            "GET / HTTP/1.1\r\nHost: [fd88::2]\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9110 §9.1",
            line("brew http://192.0.2.1/pot"),
            "brew /pot HTTP/1.1\r\nHost: 192.0.2.1\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9112 §3.2.4",
            line("OPTIONS http://a.test"),
            "OPTIONS * HTTP/1.1\r\nHost: a.test\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9112 §3.2.4",
            line("OPTIONS http://a.test/"),
            "OPTIONS / HTTP/1.1\r\nHost: a.test\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9110 §7.6.1",
            get(
                "Connection: x-hop, host\r\nX-Hop: 1\r\nX-End: 2\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nTE: gzip\r\nUpgrade: foo\r\n",
            ),
            "GET /x HTTP/1.1\r\nHost: a.test\r\nX-End: 2\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9110 §7.6.1",
            post(
                "Connection: content-length, transfer-encoding\r\nContent-Length: 2\r\n",
                "hi",
            ),
            "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nVia: 1.1 tunless\r\n\r\nhi",
        ),
        passed(
            "9110 §10.1.4",
            get("TE: trailers;q=0.5, trailers\r\nConnection: TE\r\n"),
            "GET /x HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9113 §3.1",
            get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
            "GET /x HTTP/1.1\r\nHost: a.test\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9110 §7.6.3",
            get("Via: 1.0 first\r\n"),
            "GET /x HTTP/1.1\r\nHost: a.test\r\nVia: 1.0 first\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9110 §5.5",
            get("X: \t a\tb \u{e4} \t\r\n"),
            "GET /x HTTP/1.1\r\nHost: a.test\r\nX: a\tb \u{e4}\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9112 §6.2",
            post("Content-Length: 2\r\nContent-Length: 2\r\n", "hi"),
            "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nVia: 1.1 tunless\r\n\r\nhi",
        ),
        passed(
            "9112 §6.2",
            post("Content-Length: 0\r\n", ""),
            "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9112 §7.1",
            post(
                "Transfer-Encoding: CHUNKED\r\n",
                "2;ext=\"a;b\"\r\nhi\r\n000\r\nX-Sum: 1\r\nContent-Length: 9\r\nHost: b\r\n\r\n",
            ),
            "POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nVia: 1.1 tunless\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n",
        ),
        passed(
            "9110 §10.1.1",
            post("Expect: 100-continue\r\nContent-Length: 2\r\n", "hi"),
            "POST /x HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\nVia: 1.1 tunless\r\n\r\nhi",
        ),
        passed(
            "9110 §7.6.2",
            "OPTIONS http://a.test/x HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 3\r\n\r\n".into(),
            "OPTIONS /x HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 2\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        passed(
            "9110 §7.6.2",
            get("Max-Forwards: 0\r\n"),
            "GET /x HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        Passed {
            source: "9112 §9.3: a proxy keeps no connection with an HTTP/1.0 client",
            request: "GET http://a.test/ HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n"
                .into(),
            received: "GET / HTTP/1.1\r\nHost: a.test\r\nVia: 1.0 tunless\r\n\r\n",
            response: OK,
            got: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nVia: 1.1 tunless\r\n\r\nok",
        },
        Passed {
            source: "9112 §9.6",
            request: get("Connection: close\r\n"),
            received: "GET /x HTTP/1.1\r\nHost: a.test\r\nVia: 1.1 tunless\r\n\r\n",
            response: OK,
            got: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nVia: 1.1 tunless\r\n\r\nok",
        },
    ] {
        let Passed {
            source,
            request,
            received,
            response,
            got,
        } = row;
        for piece in [usize::MAX, 1] {
            let lab = Lab::new(vec![vec![Step::Await(received), say(response)]]);
            let talk = lab.talk_in_pieces(request.as_bytes(), piece).await;
            let sent: String = lab.received().concat();
            assert_eq!(sent, received, "{source}: {request:?}");
            assert_eq!(talk.got, got, "{source}: {request:?}");
        }
    }
}
