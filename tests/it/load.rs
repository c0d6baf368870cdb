//! Ten thousand mixed requests by two hundred clients at once, some of whom read slowly, hang up or end one
//! direction first: nothing is lost, and all descriptors and memory come back.

use std::io::{Error, Read, Result, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::fetch::{Via, download, page, upload};
use crate::inner::{ECHO, HELLO, WEB};
use crate::server::Options;
use crate::tunnel::{LISTENER, Lab};

/// Clients at once.
const CLIENTS: u64 = 200;
/// Requests of each.
const REQUESTS: u64 = 50;
/// Longest time until descriptors and connections are back: the far ends of aborted flows need a moment.
const SETTLE: Duration = Duration::from_secs(30);
/// What may stay: allocators keep some, tables keep their largest size. Not much beside what 200 clients held.
const KEPT_KIB: u64 = 48 * 1024;

/// What a client does with one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Page,
    PlainPage,
    Download,
    SlowDownload,
    Upload,
    HalfClosedEcho,
    HangUpWhileDownloading,
    HangUpWhileUploading,
    HangUpBeforeTheAnswer,
    RefusedPort,
    UnknownName,
}

const ACTS: [Act; 16] = [
    Act::Page,
    Act::Page,
    Act::PlainPage,
    Act::PlainPage,
    Act::PlainPage,
    Act::Download,
    Act::Download,
    Act::SlowDownload,
    Act::Upload,
    Act::HalfClosedEcho,
    Act::HalfClosedEcho,
    Act::HangUpWhileDownloading,
    Act::HangUpWhileUploading,
    Act::HangUpBeforeTheAnswer,
    Act::RefusedPort,
    Act::UnknownName,
];

/// A small generator: the same seed, the same mix.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}

#[test]
fn ten_thousand_mixed_requests_leave_nothing_behind() {
    let lab = Lab::new("load", Options::default());
    // The first connections make what stays: pools, the resolver's cache.
    for seed in 0..40 {
        lab.net.client.enter(|| client(seed, 4));
    }
    let descriptors = settled_descriptors(&lab, usize::MAX);
    let before_kib = resident_kib(&lab);
    let failures: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|seed| {
                let host = &lab.net.client;
                scope.spawn(move || host.enter(|| client(1000 + seed, REQUESTS)))
            })
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("a client's thread"))
            .collect()
    });
    assert!(
        failures.is_empty(),
        "{} of {} requests failed, the first: {}",
        failures.len(),
        CLIENTS * REQUESTS,
        failures.iter().take(10).cloned().collect::<Vec<_>>().join("; ")
    );
    let after = settled_descriptors(&lab, descriptors);
    assert!(after <= descriptors, "{after} descriptors, {descriptors} before");
    let after_kib = resident_kib(&lab);
    println!("resident: {before_kib} KiB before, {after_kib} KiB after; descriptors: {descriptors}, {after}");
    assert!(
        after_kib <= before_kib + KEPT_KIB,
        "{before_kib} KiB before, {after_kib} KiB after"
    );
    assert_eq!(lab.net.client.stray_packets(), 0);
    // It still works.
    download(&lab.socks("10.88.0.2", WEB), 1_000_000).expect("the right bytes");
    lab.server.assert_no_errors();
}

/// Does `requests` things, one after the other; gives what went wrong.
fn client(seed: u64, requests: u64) -> Vec<String> {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut failures = Vec::new();
    for request in 0..requests {
        let act = usize::try_from(dice.roll(ACTS.len() as u64)).map_or(Act::Page, |n| ACTS[n]);
        if let Err(error) = perform(act, &mut dice) {
            failures.push(format!("seed {seed} request {request} {act:?}: {error}"));
        }
    }
    failures
}

fn connect(dice: &mut Dice, port: u16) -> Result<TcpStream> {
    let via = if dice.roll(2) == 0 {
        Via::Socks(LISTENER)
    } else {
        Via::Http(LISTENER)
    };
    let target = ["10.88.0.2", "page.inner.test", "fd88::2"][usize::try_from(dice.roll(3)).unwrap_or(0)];
    via.connect_here(target, port)
}

fn perform(act: Act, dice: &mut Dice) -> Result<()> {
    match act {
        Act::Page => expect(&page(&connect(dice, WEB)?, "/hello")?, HELLO),
        Act::PlainPage => plain_page(),
        Act::Download => {
            let len = dice.roll(200_000);
            download(&connect(dice, WEB)?, len)
        }
        Act::SlowDownload => slow_download(&connect(dice, WEB)?),
        Act::Upload => {
            let len = dice.roll(200_000);
            expect(
                &upload(&connect(dice, WEB)?, len)?,
                &format!("{len} bytes as expected\n"),
            )
        }
        Act::HalfClosedEcho => half_closed_echo(connect(dice, ECHO)?, dice),
        Act::HangUpWhileDownloading => {
            let mut stream = connect(dice, WEB)?;
            stream.write_all(b"GET /bytes/20000000 HTTP/1.1\r\nHost: inner\r\n\r\n")?;
            stream.read_exact(&mut vec![0; 50_000])?;
            hang_up(&stream, dice)
        }
        Act::HangUpWhileUploading => {
            let mut stream = connect(dice, WEB)?;
            stream.write_all(b"POST /upload HTTP/1.1\r\nHost: inner\r\nContent-Length: 5000000\r\n\r\n")?;
            stream.write_all(&vec![7; 50_000])?;
            hang_up(&stream, dice)
        }
        Act::HangUpBeforeTheAnswer => {
            let mut stream = TcpStream::connect(LISTENER)?;
            stream.write_all(b"CONNECT 10.88.0.99:80 HTTP/1.1\r\n\r\n")?;
            hang_up(&stream, dice)
        }
        Act::RefusedPort => {
            let error = Via::Socks(LISTENER).connect_here("10.88.0.2", 81).err();
            expect(
                &error.map(|error| error.to_string()).unwrap_or_default(),
                "SOCKS reply 5",
            )
        }
        Act::UnknownName => {
            let error = Via::Socks(LISTENER).connect_here("gone.inner.test", 80).err();
            expect(
                &error.map(|error| error.to_string()).unwrap_or_default(),
                "SOCKS reply 4",
            )
        }
    }
}

fn expect(got: &str, wanted: &str) -> Result<()> {
    if got == wanted {
        Ok(())
    } else {
        Err(Error::other(format!("{got:?} instead of {wanted:?}")))
    }
}

/// A request in absolute form, the connection kept for a second one.
fn plain_page() -> Result<()> {
    let mut stream = TcpStream::connect(LISTENER)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    for _ in 0..2 {
        stream.write_all(b"GET http://page.inner.test/hello HTTP/1.1\r\nHost: page.inner.test\r\n\r\n")?;
        let mut got = Vec::new();
        while !got.ends_with(HELLO.as_bytes()) {
            let mut buf = [0; 1024];
            let len = stream.read(&mut buf)?;
            if len == 0 || got.len() > 4096 {
                return Err(Error::other(format!("got {}", String::from_utf8_lossy(&got))));
            }
            got.extend_from_slice(&buf[..len]);
        }
    }
    Ok(())
}

/// Takes a few hundred kilobytes in small sips, so that every buffer on the way fills up.
fn slow_download(mut stream: &TcpStream) -> Result<()> {
    stream.write_all(b"GET /bytes/400000 HTTP/1.1\r\nHost: inner\r\n\r\n")?;
    let (mut total, mut buf) = (0, [0; 4096]);
    loop {
        let len = stream.read(&mut buf)?;
        if len == 0 {
            break;
        }
        total += len;
        thread::sleep(Duration::from_millis(2));
    }
    if total > 400_000 {
        Ok(())
    } else {
        Err(Error::other(format!("ended after {total} bytes")))
    }
}

/// Sends, ends its direction, and gets everything back.
fn half_closed_echo(mut stream: TcpStream, dice: &mut Dice) -> Result<()> {
    let sent: Vec<u8> = (0..dice.roll(60_000)).map(|n| n.to_le_bytes()[0]).collect();
    stream.write_all(&sent)?;
    stream.shutdown(Shutdown::Write)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back)?;
    if back == sent {
        Ok(())
    } else {
        Err(Error::other(format!(
            "{} of {} bytes back",
            back.len(),
            sent.len()
        )))
    }
}

/// Ends a connection at once: by a reset or in order.
fn hang_up(stream: &TcpStream, dice: &mut Dice) -> Result<()> {
    if dice.roll(2) == 0 {
        nix::sys::socket::setsockopt(
            stream,
            nix::sys::socket::sockopt::Linger,
            &nix::libc::linger {
                l_onoff: 1,
                l_linger: 0,
            },
        )
        .map_err(Error::other)?;
    }
    Ok(())
}

fn descriptors(lab: &Lab) -> usize {
    lab.tunnel.process.open_files()
}

/// Waits until at most `wanted` descriptors are left, or, without a wish, until their number has stood still.
fn settled_descriptors(lab: &Lab, wanted: usize) -> usize {
    let deadline = Instant::now() + SETTLE;
    let (mut last, mut same) = (usize::MAX, 0);
    loop {
        let now = descriptors(lab);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        let is_settled = if wanted == usize::MAX {
            same >= 40
        } else {
            now <= wanted
        };
        if is_settled || Instant::now() > deadline {
            return now;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn resident_kib(lab: &Lab) -> u64 {
    let text = lab.tunnel.process.status_field("VmRSS");
    text.split_whitespace()
        .next()
        .and_then(|kib| kib.parse().ok())
        .expect("a number of KiB")
}
