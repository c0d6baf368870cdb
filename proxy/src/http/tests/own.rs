//! CONNECT, signing in, and what the port says about itself.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use super::lab::{HEAD, Handed, Lab, say};
use super::{RIGHT, known, status_of};
use crate::connect::Target;
use crate::detect::{Protocol, Request};
use crate::http::REQUEST_BYTES;
use crate::site::{Site, SiteRequest, SiteResponse};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn connect_to(host: &str, port: u16) -> Request {
    Request {
        protocol: Protocol::HttpConnect,
        target: Target::parse(host, port).unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn connect_takes_names_and_both_kinds_of_addresses() {
    for (target, wanted) in [
        ("inner.example:443", connect_to("inner.example", 443)),
        ("192.0.2.1:80", connect_to("192.0.2.1", 80)),
        ("[2001:db8::1]:8080", connect_to("2001:db8::1", 8080)),
    ] {
        for (version, piece) in [("1.0", 1000), ("1.1", 1)] {
            let input = format!("CONNECT {target} HTTP/{version}\r\nHost: {target}\r\n\r\nearly");
            let talk = Lab::default().talk_in_pieces(input.as_bytes(), piece).await;
            let Handed { request, early } = talk.connect.unwrap();
            assert_eq!(request, wanted, "{input}");
            assert!(
                b"early".starts_with(&early[..]),
                "the rest is still in the socket"
            );
        }
    }
    let talk = Lab::default()
        .talk("CONNECT inner.example:22 HTTP/1.0\r\n\r\n")
        .await;
    assert_eq!(
        talk.connect.unwrap().request,
        connect_to("inner.example", 22),
        "old clients send no Host"
    );
}

#[tokio::test(start_paused = true)]
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
        let answer = Lab::default()
            .talk(format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .await
            .got;
        assert_eq!(status_of(&answer), "400", "{target}");
        assert!(answer.contains(text), "{target}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
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
        let input = format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n{field}\r\n\r\nhello");
        let talk = Lab::default().talk(input).await;
        assert_eq!(status_of(&talk.got), "400", "{field}");
    }
    let talk = Lab::default()
        .talk("CONNECT a:1 HTTP/1.1\r\nContent-Length: 0\r\n\r\nhello")
        .await;
    let handed = Handed {
        request: connect_to("a", 1),
        early: b"hello".to_vec(),
    };
    assert_eq!(talk.connect, Some(handed));
}

#[tokio::test(start_paused = true)]
async fn heads_have_limits() {
    let fields = |count: usize| "X: y\r\n".repeat(count);
    let head = |rest: &str| format!("CONNECT a:1 HTTP/1.1\r\n{rest}\r\n");
    let lab = Lab::default();
    assert!(lab.talk(head(&fields(64))).await.connect.is_some());
    assert_eq!(status_of(&lab.talk(head(&fields(65))).await.got), "431");

    let filler = |bytes: usize| format!("X: {}\r\n", "y".repeat(bytes));
    let fixed = head(&filler(0)).len();
    assert!(
        lab.talk(head(&filler(REQUEST_BYTES - fixed)))
            .await
            .connect
            .is_some()
    );
    let too_long = lab.talk(head(&filler(REQUEST_BYTES - fixed + 1))).await;
    assert_eq!(status_of(&too_long.got), "431");
    assert_eq!(status_of(&lab.talk("A".repeat(REQUEST_BYTES)).await.got), "414");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_know_the_password_may_try_again_on_the_same_connection() {
    let mut lab = Lab::new(vec![vec![HEAD, say(OK), HEAD, say(OK)]]);
    lab.settings.credentials = Some(known());
    let get = |fields: &str| format!("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
    let right = format!("Proxy-Authorization: {RIGHT}\r\n");
    let input = [
        get(""),
        get("Proxy-Authorization: Basic QWxhZGRpbjpvcGVuOnNlc2FtZT==\r\n"),
        get(&format!("Authorization: {RIGHT}\r\n")),
        get(&right.repeat(2)),
        // The body of a refused request is no request.
        "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nGET ".to_owned(),
        "CONNECT a.test:1 HTTP/1.1\r\nHost: a.test:1\r\n\r\n".to_owned(),
        get(&right),
        get(&right),
        // Each request has to bring it.
        get(""),
        format!("CONNECT a.test:1 HTTP/1.1\r\nHost: a.test:1\r\n{right}\r\nearly"),
    ];
    let talk = lab.talk(input.concat()).await;
    let statuses: Vec<_> = talk
        .got
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| answer.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        statuses,
        ["407", "407", "407", "407", "407", "407", "200", "200", "407"],
        "{}",
        talk.got
    );
    assert!(
        talk.got
            .contains("\r\nProxy-Authenticate: Basic realm=\"tunless\", charset=\"UTF-8\"\r\n")
    );
    assert!(!talk.got.contains("Connection: close"), "{}", talk.got);
    let handed = Handed {
        request: connect_to("a.test", 1),
        early: b"early".to_vec(),
    };
    assert_eq!(talk.connect, Some(handed));
    assert_eq!(lab.settings.stats.snapshot().auth_failures, 7);
    let received = lab.received();
    assert!(
        received.len() == 1 && !received[0].contains("uthorization"),
        "{received:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_body_that_cannot_be_thrown_away_ends_the_connection() {
    let mut lab = Lab::default();
    lab.settings.credentials = Some(known());
    for fields in [
        "Content-Length: 70000\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 3\r\nExpect: 100-continue\r\n",
        "Connection: close\r\n",
    ] {
        let input = format!("POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
        assert_eq!(status_of(&lab.talk(input).await.got), "407", "{fields}");
    }
}

/// Says what it was asked.
#[derive(Debug, Default)]
struct Mirror {
    asked: Mutex<Vec<SiteRequest>>,
}

impl Site for Mirror {
    fn respond(&self, request: SiteRequest) -> Pin<Box<dyn Future<Output = SiteResponse> + Send + '_>> {
        let status = match request.path.as_str() {
            "/private" if !request.signed_in => 401,
            _ => 200,
        };
        let fields = match request.path.as_str() {
            "/policy" => vec![("Content-Security-Policy", "default-src 'self'".to_owned())],
            "/split" => vec![("X-Split", "a\r\nX-Evil: b".to_owned())],
            _ => Vec::new(),
        };
        self.asked.lock().unwrap().push(request);
        Box::pin(async move {
            SiteResponse {
                status,
                content_type: "text/html",
                fields,
                body: b"<p>".to_vec(),
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_port_s_own_pages_are_shown_under_names_that_no_web_page_can_have() {
    let site = Arc::new(Mirror::default());
    let mut lab = Lab::default();
    lab.settings.site = Some(site.clone());
    for (path, host, status) in [
        ("/", "127.0.0.1:1080", "200"),
        ("/", "127.0.0.1", "200"),
        ("/", "[::1]:1080", "200"),
        ("/", "192.0.2.7:1", "200"),
        ("/", "LocalHost:1080", "200"),
        ("/wpad.dat", "wpad", "200"),
        ("/wpad.dat?x", "WPAD:80", "200"),
        ("/proxy.pac", "wpad:1080", "200"),
        // Anybody's page can have such a name, and then lead it here.
        ("/wpad.dat", "wpad.corp.example:80", "421"),
        ("/proxy.pac", "wpad.evil.example:1080", "421"),
        ("/proxy.pac", "wpad.", "421"),
        ("/", "wpad", "421"),
        ("/wpad.dat", "wpadx.example", "421"),
        ("/", "evil.example:1080", "421"),
        ("/", "127.0.0.1.evil.example", "421"),
        ("/", "127.1", "421"),
        ("/", "::1", "421"),
        ("/", "[::1", "421"),
        ("/", "[127.0.0.1]", "421"),
        ("/", "localhost:1080:1", "421"),
        ("/", "localhost:x", "421"),
        ("/", "user@localhost", "421"),
        ("/", "", "421"),
    ] {
        let input = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let got = lab.talk(input).await.got;
        assert_eq!(status_of(&got), status, "{path} {host}");
    }
    let got = lab.talk("GET / HTTP/1.0\r\n\r\n").await.got;
    assert_eq!(status_of(&got), "200", "HTTP/1.0 has no Host");
    assert_eq!(status_of(&lab.talk("GET / HTTP/1.1\r\n\r\n").await.got), "400");
    let twice = "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n";
    assert_eq!(status_of(&lab.talk(twice).await.got), "400");
    let fragment = "GET /#x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(status_of(&lab.talk(fragment).await.got), "400");
}

#[tokio::test(start_paused = true)]
async fn the_site_hears_who_asks_and_answers_are_kept_apart_from_web_pages() {
    let site = Arc::new(Mirror::default());
    let mut lab = Lab::default();
    lab.settings.site = Some(site.clone());
    lab.settings.credentials = Some(known());
    let get = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost:1\r\n{fields}\r\n");
    let input = [
        get("/private?a=b?c", ""),
        get("/private", &format!("Authorization: {RIGHT}\r\n")),
        get("/x", "Sec-Fetch-Site: cross-site\r\n"),
        get("/x", "Sec-Fetch-Site: same-site\r\n"),
        get("/x", "Sec-Fetch-Site: same-origin\r\n"),
        get("/policy", ""),
        get("/split", ""),
        get("/x", "").replace("GET", "HEAD"),
        get("/x", "").replace("GET", "POST"),
    ];
    let got = lab.talk(input.concat()).await.got;
    let answers: Vec<_> = got.split("HTTP/1.1 ").skip(1).collect();
    let statuses: Vec<_> = answers.iter().map(|answer| &answer[..3]).collect();
    assert_eq!(
        statuses,
        ["401", "200", "200", "200", "200", "200", "200", "200", "405"],
        "{got}"
    );
    assert!(answers[0].contains("\r\nWWW-Authenticate: Basic realm=\"tunless\", charset=\"UTF-8\"\r\n"));
    for answer in &answers {
        for field in [
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
            "X-Frame-Options: DENY",
            "Cross-Origin-Resource-Policy: same-origin",
        ] {
            assert!(answer.contains(&format!("\r\n{field}\r\n")), "{answer}");
        }
        assert_eq!(answer.matches("Content-Security-Policy: ").count(), 1, "{answer}");
    }
    assert!(answers[1].contains("Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"));
    assert!(answers[1].ends_with("\r\n\r\n<p>"));
    assert!(answers[5].contains("Content-Security-Policy: default-src 'self'\r\n"));
    assert!(!answers[6].contains("X-Evil"), "{}", answers[6]);
    assert!(answers[7].contains("Content-Length: 3\r\n") && answers[7].ends_with("\r\n\r\n"));
    assert!(answers[8].contains("\r\nAllow: GET, HEAD, CONNECT\r\n"));
    let asked = site.asked.lock().unwrap();
    assert_eq!(
        asked[0],
        SiteRequest {
            path: "/private".to_owned(),
            query: Some("a=b?c".to_owned()),
            host: Some("localhost:1".to_owned()),
            signed_in: false,
            is_cross_site: false,
        }
    );
    assert!(asked[1].signed_in);
    let cross: Vec<_> = asked[2..5].iter().map(|request| request.is_cross_site).collect();
    assert_eq!(cross, [true, true, false]);
}

#[tokio::test(start_paused = true)]
async fn without_a_site_the_root_says_what_the_port_is() {
    let mut lab = Lab::default();
    lab.settings.credentials = Some(known());
    let input = "GET / HTTP/1.1\r\nHost: 127.0.0.1:1080\r\n\r\n\
                 GET /nothing HTTP/1.1\r\nHost: 127.0.0.1:1080\r\nConnection: close\r\n\r\n";
    let got = lab.talk(input).await.got;
    assert!(
        got.starts_with("HTTP/1.1 200 OK\r\n") && got.contains("socks5h://"),
        "{got}"
    );
    assert!(got.contains("HTTP/1.1 404 Not Found\r\n"), "{got}");
}
