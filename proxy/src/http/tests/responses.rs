//! Responses: what goes in and what comes out, byte for byte, each line with the text that wants it so.

#![expect(clippy::too_many_lines, reason = "tables")]

use super::lab::{HEAD, Lab, Step, say};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const OK_PASSED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.1 tunless\r\n\r\nok";

/// The fields every request needs.
fn get(fields: &str) -> String {
    format!("GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

#[tokio::test(start_paused = true)]
async fn responses_are_passed_on_as_they_are_meant() {
    const GET: &str = "GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n";
    const OLD: &str = "GET http://a.test/x HTTP/1.0\r\n\r\n";
    const HEAD_METHOD: &str = "HEAD http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for (source, request, response, got) in [
        (
            "9112 §6.3 (1)",
            HEAD_METHOD,
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        (
            "9112 §6.3 (1)",
            GET,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: \"x\"\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 9\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        (
            "9112 §6.3 (1)",
            GET,
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        (
            "9110 §8.6",
            GET,
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        (
            "9112 §4",
            GET,
            "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 \r\nContent-Length: 0\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        (
            "9112 §7.1",
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2;x\r\nok\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a=b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\nVia: 1.1 tunless\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
        ),
        (
            "9112 §6.1",
            OLD,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nVia: 1.1 tunless\r\n\r\nok",
        ),
        (
            "9112 §6.3 (8)",
            GET,
            "HTTP/1.1 200 OK\r\n\r\nto the end",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nVia: 1.1 tunless\r\n\r\na\r\nto the end\r\n0\r\n\r\n",
        ),
        (
            "9112 §6.3 (8)",
            OLD,
            "HTTP/1.0 200 OK\r\n\r\nto the end",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nVia: 1.0 tunless\r\n\r\nto the end",
        ),
        (
            "9110 §7.6.1",
            GET,
            "HTTP/1.1 200 OK\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authenticate: Basic\r\nUpgrade: foo\r\nContent-Length: 2\r\n\r\nok",
            OK_PASSED,
        ),
        (
            "9110 §15.2",
            GET,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 100 Continue\r\nVia: 1.1 tunless\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </s>\r\nVia: 1.1 tunless\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.1 tunless\r\n\r\nok",
        ),
        (
            "9110 §15.2",
            OLD,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nVia: 1.1 tunless\r\n\r\nok",
        ),
        (
            "9110 §15.5.22",
            GET,
            "HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.2\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nUpgrade: TLS/1.2\r\nConnection: Upgrade\r\nVia: 1.1 tunless\r\n\r\n",
        ),
        (
            "9110 §11.6.1",
            GET,
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\nVia: 1.1 tunless\r\n\r\n",
        ),
    ] {
        let lab = Lab::new(vec![vec![HEAD, say(response), Step::End]]);
        assert_eq!(lab.talk(request).await.got, got, "{source}: {response:?}");
        // Byte by byte it is the same message, but for the sizes of chunks that are made here.
        let bytes = response.bytes().map(|byte| Step::Say(vec![byte]));
        let lab = Lab::new(vec![
            std::iter::once(HEAD).chain(bytes).chain([Step::End]).collect(),
        ]);
        let slow = lab.talk(request).await.got;
        assert!(
            slow == got || got.contains("chunked"),
            "{source}: {response:?}: {slow}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_not_clear_is_a_bad_gateway() {
    let many = "X: y\r\n".repeat(129);
    let large = format!("X: {}\r\n", "y".repeat(64 * 1024));
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(65);
    for (source, response) in [
        (
            "9112 §6.3 (3)",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "9112 §6.3 (5)",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        ),
        (
            "9112 §6.3 (5)",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nabcde",
        ),
        ("9110 §8.6", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nabcde"),
        (
            "9110 §8.6",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\n\r\n",
        ),
        (
            "9112 §6.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "9112 §6.1",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nabc",
        ),
        (
            "9112 §6.1",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("9112 §5.1", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nabcde"),
        (
            "9112 §5.2",
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        ),
        ("9112 §2.2", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        (
            "9112 §2.2",
            "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "9110 §5.5",
            "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        ),
        ("9112 §4", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
        ("9112 §4", "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n"),
        ("9110 §15", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
        ("9110 §15", "HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n"),
        ("9112 §4", "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("9112 §4", "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("9112 §4", "<html>hello</html>\r\n\r\n"),
        (
            "9110 §7.8",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        ),
        (
            "9110 §11.7.1",
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        ),
        ("ours: fields", &format!("HTTP/1.1 200 OK\r\n{many}\r\n")),
        ("ours: size", &format!("HTTP/1.1 200 OK\r\n{large}\r\n")),
        ("ours: interim", &interim),
        ("9112 §8", "HTTP/1.1 200 OK\r\nContent-"),
        ("9112 §8", ""),
    ] {
        let lab = Lab::new(vec![vec![HEAD, say(response), Step::End], vec![HEAD, say(OK)]]);
        let got = lab.talk(get("") + &get("Connection: close\r\n")).await.got;
        let (_, bad) = got.split_at(
            got.find("HTTP/1.1 502 Bad Gateway\r\n")
                .unwrap_or_else(|| panic!("{source}: {got}")),
        );
        assert!(
            bad.contains("\r\nProxy-Status: tunless; error="),
            "{source}: {got}"
        );
        // The client's connection is as good as before, the far end's is not used again.
        assert!(
            bad.ends_with("\r\n\r\nok") && lab.received().len() == 2,
            "{source}: {got}"
        );
        assert!(
            !got.contains("Set-Cookie") && !got.contains("407"),
            "{source}: {got}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_cut_short_ends_the_client_s_connection() {
    for (response, last, got) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
            Step::End,
            "Content-Length: 9\r\nVia: 1.1 tunless\r\n\r\nshort",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nshort",
            Step::End,
            "chunked\r\nVia: 1.1 tunless\r\n\r\n5\r\nshort\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n",
            Step::End,
            "chunked\r\nVia: 1.1 tunless\r\n\r\n5\r\nshort\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nx\r\n",
            Step::End,
            "chunked\r\nVia: 1.1 tunless\r\n\r\n5\r\nshort\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\nshort",
            Step::Reset,
            "chunked\r\nVia: 1.1 tunless\r\n\r\n5\r\nshort\r\n",
        ),
    ] {
        let lab = Lab::new(vec![vec![HEAD, say(response), last], vec![HEAD, say(OK)]]);
        let talk = lab.talk(get("") + &get("")).await;
        assert!(talk.got.ends_with(got), "{response:?}: {}", talk.got);
        assert_eq!(lab.received().len(), 1, "{response:?}");
    }
}
