//! Proxies on the way to the server: what is read, what is inherited, what is refused.

use super::*;

fn proxies(lines: &str) -> Vec<Option<UpstreamProxy>> {
    let remotes = client(&with(lines)).remotes.into_iter();
    remotes.map(|remote| remote.proxy).collect()
}

fn proxy(lines: &str) -> UpstreamProxy {
    proxies(&format!("proto tcp\n{lines}"))
        .remove(0)
        .expect("a proxy")
}

fn http(lines: &str) -> HttpProxy {
    match proxy(lines).kind {
        ProxyKind::Http(http) => http,
        ProxyKind::Socks5 => panic!("no HTTP proxy"),
    }
}

fn error(lines: &str) -> String {
    try_client(&with(lines)).unwrap_err()
}

fn alice() -> ProxyCredentials {
    ProxyCredentials {
        username: "alice".to_owned(),
        password: "hunter2".into(),
    }
}

#[test]
fn an_http_proxy_is_read_with_every_way_to_log_in() {
    let plain = proxy("http-proxy 192.0.2.7 3128");
    assert_eq!(
        (plain.host.as_str(), plain.port, &plain.credentials),
        ("192.0.2.7", 3128, &None)
    );
    assert_eq!(plain.to_string(), "HTTP proxy 192.0.2.7:3128");
    for (words, login, credentials) in [
        ("", HttpLogin::WhenAsked, None),
        ("auto", HttpLogin::WhenAsked, None),
        ("auto-nct", HttpLogin::NotInClear, None),
        ("login.txt", HttpLogin::AtOnce, Some(alice())),
        ("login.txt basic", HttpLogin::AtOnce, Some(alice())),
        ("login.txt none", HttpLogin::Never, Some(alice())),
        ("stdin", HttpLogin::AtOnce, None),
    ] {
        let found = proxy(&format!("http-proxy gate.example 80 {words}"));
        assert_eq!(found.credentials, credentials, "{words}");
        assert!(
            matches!(found.kind, ProxyKind::Http(http) if http.login == login),
            "{words}"
        );
    }
    for own in [
        "http-proxy-user-pass login.txt",
        "<http-proxy-user-pass>\nalice\nhunter2\n</http-proxy-user-pass>",
    ] {
        let found = proxy(&format!("http-proxy gate.example 80 auto\n{own}"));
        assert_eq!(found.credentials, Some(alice()), "{own}");
    }
    assert!(!format!("{:?}", proxy("http-proxy a 1 login.txt")).contains("hunter2"));
}

#[test]
fn options_of_the_request_are_read() {
    let found = http(
        "http-proxy a 1\nhttp-proxy-option VERSION 1.1\nhttp-proxy-option AGENT \"a browser\"\n\
         http-proxy-option CUSTOM-HEADER X-Gate 7\nhttp-proxy-option CUSTOM-HEADER \"X-More: a b\"\nhttp-proxy-option EXT1 X-Old\t1",
    );
    assert_eq!(
        (found.version, found.agent.as_deref()),
        (HttpVersion::V11, Some("a browser"))
    );
    let headers: Vec<_> = found
        .headers
        .iter()
        .map(|one| (one.name.as_str(), one.value.expose()))
        .collect();
    assert_eq!(headers, [("X-Gate", "7"), ("X-More", "a b"), ("X-Old", "1")]);
    for (option, wants) in [
        ("VERSION 2", "1.0 or 1.1"),
        ("CUSTOM-HEADER X-Gate", "NAME VALUE"),
        ("CUSTOM-HEADER \"X Gate\" 7", "NAME VALUE"),
        ("COLOUR red", "VERSION 1.0 or 1.1"),
    ] {
        let text = error(&format!("proto tcp\nhttp-proxy a 1\nhttp-proxy-option {option}"));
        assert!(text.contains(wants), "{option}: {text}");
    }
    let many = "http-proxy-option CUSTOM-HEADER A b\n".repeat(11);
    assert!(error(&format!("proto tcp\nhttp-proxy a 1\n{many}")).contains("at most 10"));
}

#[test]
fn a_socks_proxy_is_read() {
    let plain = proxy("socks-proxy gate.example");
    assert_eq!(
        (plain.port, plain.kind, plain.credentials),
        (1080, ProxyKind::Socks5, None)
    );
    let login = proxy("socks-proxy fd00::7 9050 login.txt");
    assert_eq!(login.credentials, Some(alice()));
    assert_eq!(login.to_string(), "SOCKS proxy [fd00::7]:9050");
}

#[test]
fn a_proxy_outside_the_blocks_counts_for_each_that_has_none_of_its_own() {
    let found = proxies(
        "proto tcp\n<connection>\nremote one 1\n</connection>\n\
         <connection>\nremote two 2\nhttp-proxy other 81\nhttp-proxy-option AGENT me\n</connection>\nhttp-proxy gate 80 login.txt",
    );
    let [Some(one), Some(two)] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!((one.host.as_str(), &one.credentials), ("gate", &Some(alice())));
    assert_eq!((two.host.as_str(), &two.credentials), ("other", &None));
    let agent = |proxy: &UpstreamProxy| match &proxy.kind {
        ProxyKind::Http(http) => http.agent.clone(),
        ProxyKind::Socks5 => None,
    };
    assert_eq!((agent(one), agent(two)), (None, Some("me".to_owned())));
}

#[test]
fn a_proxy_that_cannot_be_used_is_never_left_out() {
    for (lines, wants) in [
        ("http-proxy a 80", "carry TCP only; add `proto tcp-client`"),
        ("socks-proxy a", "UDP through SOCKS proxies is not spoken yet"),
        (
            "proto tcp\nhttp-proxy a 80\nsocks-proxy b",
            "cannot stand beside `socks-proxy`",
        ),
        ("proto tcp\nhttp-proxy a", "wants 2 to 4 parameters"),
        ("proto tcp\nhttp-proxy a 0", "wants a port"),
        (
            "proto tcp\nhttp-proxy a 80 login.txt ntlm2",
            "only Basic is spoken",
        ),
        (
            "proto tcp\nhttp-proxy a 80 login.txt kerberos",
            "wants basic or none",
        ),
        ("proto tcp\nhttp-proxy a 80 gone.txt", "no such file"),
        (
            "proto tcp\nhttp-proxy a 80 name.txt",
            "on the first line and the password on the second",
        ),
        (
            "proto tcp\nhttp-proxy-option AGENT me",
            "of use only with a proxy",
        ),
        (
            "proto tcp\nhttp-proxy-user-pass login.txt",
            "of use only with a proxy",
        ),
        (
            "proto tcp\nhttp-proxy a 80\n<http-proxy-user-pass>\na:b\nc\n</http-proxy-user-pass>",
            "has no colon",
        ),
    ] {
        let text = error(lines);
        assert!(text.contains(wants), "{lines}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let (_, notes) = try_client(&with(
        "proto tcp\nhttp-proxy a 80\nhttp-proxy-retry\nhttp-proxy-timeout 5",
    ))
    .unwrap();
    assert_eq!(notes.len(), 2, "{notes:?}");
}
