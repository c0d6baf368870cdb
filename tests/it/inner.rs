//! What runs on the host behind the server: a web server, an echo server, and a name server for `inner.test`.
//!
//! The bodies are a fixed pattern, so that either side knows what has to arrive without keeping it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use crate::names::Names;
use crate::netns::{Host, INNER, INNER_V6};

/// The web server's port.
pub(crate) const WEB: u16 = 80;
/// The port where everything comes back.
pub(crate) const ECHO: u16 = 7;
/// The text of `/hello`.
pub(crate) const HELLO: &str = "the page behind the tunnel\n";
/// Length of the pattern's period: odd, so that a lost or doubled block never goes unnoticed.
const PERIOD: usize = 1_000_003;
/// Longest silence on a connection.
const SILENCE: Duration = Duration::from_mins(2);

/// The services; they run until the test's process ends.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) names: Names,
}

impl Inner {
    /// Starts everything on `host`, on its IPv4 and IPv6 address.
    pub(crate) fn start(host: &Host) -> Self {
        for ip in [INNER, INNER_V6] {
            serve_tcp(host, SocketAddr::new(ip, WEB), |stream| drop(answer(stream)));
            serve_tcp(host, SocketAddr::new(ip, ECHO), |stream| drop(echo(&stream)));
            echo_datagrams(host, SocketAddr::new(ip, ECHO));
        }
        let entries = [
            ("page.inner.test", Some(INNER), Some(INNER_V6)),
            ("six.inner.test", None, Some(INNER_V6)),
            ("ns.inner.test", Some(INNER), None),
        ];
        Self {
            names: Names::start(host, SocketAddr::new(INNER, 53), &entries),
        }
    }
}

/// Serves the same pages on another host.
pub(crate) fn serve_pages(host: &Host, address: SocketAddr) {
    serve_tcp(host, address, |stream| drop(answer(stream)));
}

/// Accepts on `address` of `host` and runs `work` on a thread a connection.
fn serve_tcp(host: &Host, address: SocketAddr, work: impl Fn(TcpStream) + Send + Copy + 'static) {
    let listener = host
        .enter(|| TcpListener::bind(address))
        .expect("a listener on the inner host");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            drop(stream.set_read_timeout(Some(SILENCE)));
            drop(stream.set_write_timeout(Some(SILENCE)));
            thread::spawn(move || work(stream));
        }
    });
}

/// Sends every datagram back.
fn echo_datagrams(host: &Host, address: SocketAddr) {
    let socket = host
        .enter(|| UdpSocket::bind(address))
        .expect("a UDP socket on the inner host");
    thread::spawn(move || {
        let mut buf = vec![0; 64 * 1024];
        while let Ok((len, from)) = socket.recv_from(&mut buf) {
            // What is too long for the way back is lost, like anywhere.
            drop(socket.send_to(&buf[..len], from));
        }
    });
}

fn echo(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut buf = [0; 16 * 1024];
    loop {
        let len = stream.read(&mut buf)?;
        if len == 0 {
            return stream.shutdown(std::net::Shutdown::Write);
        }
        stream.write_all(&buf[..len])?;
    }
}

/// Answers one request: `/hello`, `/whoami`, `/bytes/N`, or an upload that is compared with the pattern.
fn answer(stream: TcpStream) -> std::io::Result<()> {
    let peer = stream.peer_addr()?.ip();
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 64 * 1024 {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split_whitespace().nth(1).unwrap_or("/").to_owned();
    let mut stream = stream;
    if head.to_ascii_lowercase().contains("expect: 100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    match (
        target.as_str(),
        target.strip_prefix("/bytes/").and_then(|len| len.parse().ok()),
    ) {
        (_, Some(len)) => {
            write_head(&mut stream, len)?;
            write_pattern(&mut stream, len)
        }
        ("/hello", None) => reply(&mut stream, HELLO),
        ("/whoami", None) => reply(&mut stream, &format!("{peer}\n")),
        ("/upload", None) => {
            let len = content_length(&head);
            let verdict = match read_pattern(&mut reader, len) {
                Ok(()) => format!("{len} bytes as expected\n"),
                Err(error) => format!("{error}\n"),
            };
            reply(&mut stream, &verdict)
        }
        (_, None) => {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
    }
}

fn content_length(head: &str) -> u64 {
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

fn write_head(stream: &mut TcpStream, len: u64) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
    )
}

fn reply(stream: &mut TcpStream, body: &str) -> std::io::Result<()> {
    write_head(stream, body.len() as u64)?;
    stream.write_all(body.as_bytes())
}

/// One period of the pattern.
fn pattern() -> &'static [u8] {
    static PATTERN: OnceLock<Vec<u8>> = OnceLock::new();
    PATTERN.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..PERIOD).map(|_| next()).collect()
    })
}

/// Writes the first `len` bytes of the endless pattern.
pub(crate) fn write_pattern(to: &mut impl Write, len: u64) -> std::io::Result<()> {
    let mut left = len;
    while left > 0 {
        let part = usize::try_from(left).map_or(PERIOD, |left| left.min(PERIOD));
        to.write_all(&pattern()[..part])?;
        left -= part as u64;
    }
    to.flush()
}

/// Reads `len` bytes and compares them with the pattern.
pub(crate) fn read_pattern(from: &mut impl Read, len: u64) -> std::io::Result<()> {
    let mut buf = vec![0; 256 * 1024];
    let mut done = 0_u64;
    while done < len {
        let offset = usize::try_from(done % PERIOD as u64).map_err(std::io::Error::other)?;
        let left = usize::try_from(len - done).unwrap_or(usize::MAX);
        let room = buf.len().min(PERIOD - offset).min(left);
        let got = from.read(&mut buf[..room])?;
        if got == 0 {
            return Err(std::io::Error::other(format!(
                "ended after {done} of {len} bytes"
            )));
        }
        if buf[..got] != pattern()[offset..offset + got] {
            return Err(std::io::Error::other(format!(
                "wrong bytes within {got} after {done}"
            )));
        }
        done += got as u64;
    }
    Ok(())
}

/// The lower-case hexadecimal SHA-256 of the first `len` bytes of the pattern.
pub(crate) fn pattern_sha256(len: u64) -> String {
    struct Hash(aws_lc_rs::digest::Context);
    impl Write for Hash {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0.update(buf);
            Ok(buf.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut hash = Hash(aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256));
    write_pattern(&mut hash, len).expect("hashing does not fail");
    hash.0
        .finish()
        .as_ref()
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
