//! What shows only after a while: keys that change under load, and sessions that are idle for longer than a peer
//! waits.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::fetch::{Via, download, page};
use crate::inner::{HELLO, Inner, WEB};
use crate::netns::{Net, run};
use crate::runner::Confinement;
use crate::serve::Serving;
use crate::server::{Options, Transport};
use crate::stock;
use crate::tunnel::{Lab, full};

/// How long the load lasts: five key changes at least, more in the long tier.
fn load() -> Duration {
    Duration::from_secs(if full() { 120 } else { 24 })
}

/// Downloads again and again while the server asks for new keys every five seconds.
fn rekey_under_load(test: &str, options: Options, extra: &str) {
    let mut lab = Lab::with_profile(test, options, extra);
    let end = Instant::now() + load();
    let mut transfers = 0;
    while Instant::now() < end {
        download(&lab.socks("10.88.0.2", WEB), 4_000_000).unwrap_or_else(|error| {
            panic!("transfer {transfers} broke: {error}");
        });
        transfers += 1;
    }
    assert!(lab.tunnel.process.is_running());
    assert!(transfers > 1, "{transfers} transfers");
    let handshakes = lab.server.handshakes();
    assert!(handshakes >= 4, "only {handshakes} handshakes");
    lab.server.assert_no_errors();
}

#[test]
fn endurance_of_transfers_while_the_server_changes_keys() {
    rekey_under_load(
        "rekey-server",
        Options {
            reneg_sec: 5,
            ..Options::default()
        },
        "reneg-sec 0",
    );
}

#[test]
fn endurance_of_transfers_while_the_client_changes_keys() {
    rekey_under_load(
        "rekey-client",
        Options {
            reneg_sec: 0,
            ..Options::default()
        },
        "reneg-sec 5",
    );
}

#[test]
fn endurance_of_transfers_while_both_change_keys_over_tcp() {
    let options = Options {
        transport: Transport::Tcp4,
        reneg_sec: 5,
        ..Options::default()
    };
    rekey_under_load("rekey-tcp", options, "reneg-sec 5");
}

#[test]
fn endurance_of_a_session_that_is_idle_past_its_keepalive() {
    let mut lab = Lab::new(
        "idle",
        Options {
            keepalive: (1, 4),
            ..Options::default()
        },
    );
    let waiting = lab.socks("10.88.0.2", WEB);
    // The server doubles its own limit: 8 seconds without a ping would end the session, the client's 4 too.
    std::thread::sleep(Duration::from_secs(12));
    assert!(lab.tunnel.process.is_running());
    assert_eq!(
        page(&waiting, "/hello").expect("a page on the old connection"),
        HELLO
    );
    assert_eq!(
        page(&lab.socks("10.88.0.2", WEB), "/hello").expect("a page"),
        HELLO
    );
    let log = lab.server.process.log();
    assert!(!log.contains("Inactivity timeout"), "the server gave up");
    assert_eq!(
        log.matches("Control Channel: TLSv").count(),
        1,
        "connected more than once"
    );
}

#[test]
fn endurance_of_a_client_whose_server_comes_back() {
    let mut lab = Lab::with_profile(
        "comes-back",
        Options {
            keepalive: (1, 4),
            ..Options::default()
        },
        "",
    );
    assert_eq!(
        page(&lab.socks("10.88.0.2", WEB), "/hello").expect("a page"),
        HELLO
    );
    // SIGUSR1 restarts the server in place, with the same keys.
    lab.server.process.signal(nix::sys::signal::Signal::SIGUSR1);
    lab.server
        .process
        .wait_for_times("Initialization Sequence Completed", 2, Duration::from_secs(15));
    lab.tunnel
        .process
        .wait_for_times("connected to ", 2, Duration::from_secs(30));
    assert_eq!(
        page(&lab.socks("10.88.0.2", WEB), "/hello").expect("a page again"),
        HELLO
    );
}

#[test]
fn endurance_of_a_download_that_goes_on_as_soon_as_the_tunnel_is_back() {
    let mut lab = Lab::with_profile(
        "outage",
        Options {
            keepalive: (1, 4),
            ..Options::default()
        },
        "",
    );
    let mut stream = lab.socks("10.88.0.2", WEB);
    write!(stream, "GET /bytes/4000000000 HTTP/1.1\r\nHost: inner\r\n\r\n").expect("a request");
    let mut buf = vec![0; 64 * 1024];
    for _ in 0..50 {
        stream.read_exact(&mut buf).expect("a download");
    }
    let nft = |rules: &str| run(lab.net.client.command("nft").arg(rules));
    let mut read_until_silent_for = |seconds| {
        stream
            .set_read_timeout(Some(Duration::from_secs(seconds)))
            .expect("a time-out");
        while stream.read(&mut buf).is_ok_and(|read| read > 0) {}
    };
    // What came is acknowledged first: news would wake the sender by itself. Then nothing passes for so long that
    // its timer has doubled to 13 seconds.
    nft("add table inet cut
         add chain inet cut in { type filter hook input priority 0; }
         add rule inet cut in iifname \"wan\" drop");
    read_until_silent_for(1);
    nft("add chain inet cut out { type filter hook output priority 0; }
         add rule inet cut out oifname \"wan\" drop");
    read_until_silent_for(14);
    nft("delete table inet cut");
    lab.tunnel
        .process
        .wait_for_times("connected to ", 2, Duration::from_secs(30));
    let back = Instant::now();
    stream.read_exact(&mut buf).expect("the download goes on");
    let gap = back.elapsed();
    assert!(gap < Duration::from_secs(3), "the sender waited for {gap:?}");
}

#[test]
fn endurance_of_the_stock_client_that_is_idle_past_the_servers_keepalive() {
    let net = Net::new("serve-idle");
    Inner::start(&net.inner);
    let mut serving = Serving::start(&net, Confinement::Unprivileged, "udp", "keepalive 1 4");
    let client = stock::connect(&net, &serving.profile);
    let connect = || {
        Via::Direct
            .connect(&net.client, "10.88.0.2", WEB)
            .expect("a connection")
    };
    let waiting = connect();
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(
        page(&waiting, "/hello").expect("a page on the old connection"),
        HELLO
    );
    assert_eq!(page(&connect(), "/hello").expect("a page"), HELLO);
    assert_eq!(
        client.log().matches("Initialization Sequence Completed").count(),
        1,
        "connected more than once"
    );
    assert!(serving.process.is_running());
}

#[test]
fn endurance_of_transfers_while_the_stock_client_changes_keys() {
    let net = Net::new("serve-rekey");
    Inner::start(&net.inner);
    let serving = Serving::start(&net, Confinement::Unprivileged, "udp", "");
    let client = stock::connect(&net, &format!("reneg-sec 5\n{}", serving.profile));
    let end = Instant::now() + load();
    while Instant::now() < end {
        let stream = Via::Direct
            .connect(&net.client, "10.88.0.2", WEB)
            .expect("a connection");
        download(&stream, 4_000_000).expect("the right bytes");
    }
    let log = client.log();
    let handshakes = log.matches("Control Channel: TLSv").count();
    assert!(handshakes >= 4, "only {handshakes} handshakes");
    for complaint in ["Error", "packet error", "Restart pause"] {
        assert!(!log.contains(complaint), "the stock client says {complaint:?}");
    }
}
