//! Much data and many connections through the program: 64 MB down and 16 MB up on every run, 1 GB and 100 MB in
//! the long tier; every byte is compared.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::fetch::{Via, curl, download, upload};
use crate::inner::{ECHO, WEB, pattern_sha256};
use crate::netns::run;
use crate::server::{Options, Transport};
use crate::tunnel::{LISTENER, Lab, full};

const MB: u64 = 1_000_000;
/// Connections that are open at once.
const CONNECTIONS: u32 = 500;
/// Threads that open them.
const OPENERS: u32 = 10;

fn down() -> u64 {
    if full() { 1000 * MB } else { 64 * MB }
}

fn up() -> u64 {
    if full() { 100 * MB } else { 16 * MB }
}

#[test]
fn bulk_comes_down_whole_through_socks_and_http_connect() {
    let lab = Lab::new("bulk-down", Options::default());
    download(&lab.socks("10.88.0.2", WEB), down()).expect("the right bytes through SOCKS5");
    download(&lab.http("page.inner.test", WEB), down()).expect("the right bytes through HTTP CONNECT");
    lab.server.assert_no_errors();
}

#[test]
fn bulk_comes_down_whole_for_curl() {
    let lab = Lab::new("bulk-curl", Options::default());
    let path = lab.net.dir().join("body");
    let output = path.to_str().expect("a readable path");
    let url = format!("http://page.inner.test/bytes/{}", down());
    for proxy in [format!("socks5h://{LISTENER}"), format!("http://{LISTENER}")] {
        run(&mut curl(
            &lab.net.client,
            240,
            &["--proxy", &proxy, "--proxytunnel", "-o", output, &url],
        ));
        let sum = run(Command::new("sha256sum").arg(&path));
        assert!(sum.starts_with(&pattern_sha256(down())), "{proxy}: {sum}");
    }
}

#[test]
fn bulk_goes_up_whole_through_socks_and_http_connect() {
    let lab = Lab::new("bulk-up", Options::default());
    let expected = format!("{} bytes as expected\n", up());
    assert_eq!(
        upload(&lab.socks("10.88.0.2", WEB), up()).expect("a verdict"),
        expected
    );
    assert_eq!(
        upload(&lab.http("fd88::2", WEB), up()).expect("a verdict"),
        expected
    );
    lab.server.assert_no_errors();
}

#[test]
fn bulk_passes_whole_over_tcp_and_ipv6() {
    let len = down() / 4;
    for (test, transport) in [("bulk-tcp", Transport::Tcp4), ("bulk-udp6", Transport::Udp6)] {
        let lab = Lab::new(
            test,
            Options {
                transport,
                ..Options::default()
            },
        );
        download(&lab.socks("fd88::2", WEB), len).expect("the right bytes");
        let verdict = upload(&lab.socks("10.88.0.2", WEB), up()).expect("a verdict");
        assert_eq!(verdict, format!("{} bytes as expected\n", up()));
        lab.server.assert_no_errors();
    }
}

#[test]
fn bulk_both_ways_at_once_does_not_stall() {
    let lab = Lab::new("bulk-both", Options::default());
    let (a, b) = (lab.socks("10.88.0.2", WEB), lab.socks("10.88.0.2", WEB));
    std::thread::scope(|scope| {
        let down = scope.spawn(|| download(&a, down() / 2));
        let up = scope.spawn(|| upload(&b, up()));
        down.join()
            .expect("the download's thread")
            .expect("the right bytes");
        up.join().expect("the upload's thread").expect("a verdict");
    });
}

#[test]
fn bulk_of_five_hundred_connections_at_once() {
    let lab = Lab::new("bulk-many", Options::default());
    let open = |first: u32| -> Vec<(u32, TcpStream)> {
        let each = first..first + CONNECTIONS / OPENERS;
        let connect = |n| {
            (
                n,
                Via::Socks(LISTENER)
                    .connect_here("10.88.0.2", ECHO)
                    .expect("a connection"),
            )
        };
        each.map(connect).collect()
    };
    let mut streams: Vec<_> = std::thread::scope(|scope| {
        let first = |n| n * (CONNECTIONS / OPENERS);
        let openers: Vec<_> = (0..OPENERS)
            .map(|n| {
                let (open, client) = (&open, &lab.net.client);
                scope.spawn(move || client.enter(|| open(first(n))))
            })
            .collect();
        openers
            .into_iter()
            .flat_map(|opener| opener.join().expect("an opener"))
            .collect()
    });
    assert_eq!(streams.len(), CONNECTIONS as usize);
    // All are open now; each gets its own words back.
    for (n, stream) in &mut streams {
        stream.write_all(&n.to_be_bytes().repeat(256)).expect("a write");
    }
    for (n, stream) in &mut streams {
        let mut back = vec![0; 1024];
        stream.read_exact(&mut back).expect("the echo");
        assert_eq!(back, n.to_be_bytes().repeat(256), "connection {n}");
    }
    download(&lab.socks("10.88.0.2", WEB), MB).expect("one more while all are open");
    lab.server.assert_no_errors();
}
