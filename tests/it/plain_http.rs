//! `curl` with the port as its HTTP proxy for `http://` URLs: pages, uploads, several of them on one connection.

use crate::fetch::curl;
use crate::inner::{HELLO, pattern_sha256, write_pattern};
use crate::netns::run;
use crate::server::{Options, TUNNEL_PREFIX};
use crate::tunnel::{LISTENER, Lab};

/// Length of what is sent up: more than sockets and rings hold.
const UPLOAD_BYTES: u64 = 3_000_000;

#[test]
fn curl_gets_and_sends_plain_http_through_the_tunnel() {
    let lab = Lab::new("plain-http", Options::default());
    let client = &lab.net.client;
    let proxy = format!("http://{LISTENER}");
    let ask = |arguments: &[&str]| {
        let arguments = [&["-x", proxy.as_str()], arguments].concat();
        run(&mut curl(client, 60, &arguments))
    };

    // The proxy's connection is kept although the far end ends each of its own.
    let connects = "%{num_connects} ";
    let pages = ask(&[
        "-w",
        connects,
        "http://page.inner.test/hello",
        "http://page.inner.test/hello",
        "http://page.inner.test/whoami",
        "http://[fd88::2]/hello",
    ]);
    assert_eq!(pages.matches(HELLO).count(), 3, "{pages}");
    assert!(pages.contains(TUNNEL_PREFIX), "{pages}");
    let counts: Vec<_> = pages
        .split_whitespace()
        .filter(|word| word.len() == 1 && word.bytes().all(|byte| byte.is_ascii_digit()))
        .collect();
    assert_eq!(counts, ["1", "0", "0", "0"], "{pages}");

    let mut body = Vec::new();
    write_pattern(&mut body, UPLOAD_BYTES).expect("a pattern in memory");
    let file = lab.net.dir().join("upload");
    std::fs::write(&file, &body).expect("a file to upload");
    let file = file.to_str().expect("a plain path");
    let verdict = ask(&[
        "-H",
        "Expect: 100-continue",
        "-T",
        file,
        "http://page.inner.test/upload",
    ]);
    assert_eq!(verdict, format!("{UPLOAD_BYTES} bytes as expected\n"));

    let got = lab.net.dir().join("download");
    let got_path = got.to_str().expect("a plain path");
    ask(&[
        "-o",
        got_path,
        &format!("http://page.inner.test/bytes/{UPLOAD_BYTES}"),
    ]);
    let sum = run(client.command("sha256sum").arg(&got));
    assert!(sum.starts_with(&pattern_sha256(UPLOAD_BYTES)), "{sum}");

    let status = |url: &str| {
        let mut command = curl(
            client,
            60,
            &["-x", &proxy, "-o", "/dev/null", "-w", "%{http_code}", url],
        );
        let output = command.output().expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(status("http://nowhere.inner.test/"), "502");
    assert_eq!(status("http://page.inner.test:81/"), "502");
    assert_eq!(status("http://page.inner.test/no-such-page"), "404");

    let own = run(&mut curl(client, 60, &["--noproxy", "*", &format!("{proxy}/")]));
    assert!(own.contains("tunless"), "{own}");
}
