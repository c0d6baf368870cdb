//! A small name server over UDP and TCP that remembers what it was asked.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::netns::Host;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_MX: u16 = 15;
const TYPE_TXT: u16 = 16;
const TYPE_SRV: u16 = 33;
const HEADER_BYTES: usize = 12;
/// Names that start with this are cut short over UDP, so that they have to be asked again over TCP.
const LONG: &str = "long.";

/// A name and its addresses.
type Entry = (String, Vec<IpAddr>);

/// How a name server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As it should.
    Good,
    /// It hears everything and says nothing.
    Silent,
    /// It fails at everything.
    ServFail,
    /// What it sends is no DNS.
    Garbage,
    /// Everything is cut short, over TCP as well.
    CutShort,
}

/// A running name server.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    entries: Arc<Vec<Entry>>,
    asked: Arc<Mutex<Vec<String>>>,
    mode: Arc<Mutex<Mode>>,
}

impl Names {
    /// Starts a server on `address` of `host`; names without an entry do not exist.
    pub(crate) fn start(
        host: &Host,
        address: SocketAddr,
        entries: &[(&str, Option<IpAddr>, Option<IpAddr>)],
    ) -> Self {
        let mut known = Vec::new();
        for (name, v4, v6) in entries {
            let addresses: Vec<_> = v4.iter().chain(v6).copied().collect();
            known.push(((*name).to_owned(), addresses.clone()));
            known.push((format!("{LONG}{name}"), addresses));
        }
        let names = Self {
            entries: Arc::new(known),
            asked: Arc::default(),
            mode: Arc::new(Mutex::new(Mode::Good)),
        };
        let (udp, tcp) = host
            .enter(|| Ok::<_, std::io::Error>((UdpSocket::bind(address)?, TcpListener::bind(address)?)))
            .expect("the name server's sockets");
        let server = names.clone();
        thread::spawn(move || server.serve_udp(&udp));
        let server = names.clone();
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let server = server.clone();
                thread::spawn(move || drop(server.serve_tcp(stream)));
            }
        });
        names
    }

    /// Every name that was asked for, with the transport: `udp page.inner.test`.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("the list of questions").clone()
    }

    /// Behaves like that from now on.
    pub(crate) fn behave(&self, mode: Mode) {
        *self.mode.lock().expect("the mode") = mode;
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buf = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut buf) {
            if let Some(reply) = self.reply(&buf[..len], "udp") {
                drop(socket.send_to(&reply, from));
            }
        }
    }

    fn serve_tcp(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut len = [0; 2];
        while stream.read_exact(&mut len).is_ok() {
            let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
            stream.read_exact(&mut query)?;
            if let Some(reply) = self.reply(&query, "tcp") {
                let len = u16::try_from(reply.len())
                    .map_err(std::io::Error::other)?
                    .to_be_bytes();
                stream.write_all(&[&len, reply.as_slice()].concat())?;
            }
        }
        Ok(())
    }

    fn reply(&self, query: &[u8], transport: &str) -> Option<Vec<u8>> {
        let (name, end) = question_name(query)?;
        let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
        self.asked
            .lock()
            .expect("the list of questions")
            .push(format!("{transport} {name}"));
        let mode = *self.mode.lock().expect("the mode");
        let flags = match mode {
            Mode::Good => None,
            Mode::Silent => return None,
            Mode::Garbage => return Some([&query[..2], &[0xff; 50]].concat()),
            Mode::ServFail => Some([0x85, 0x82]),
            Mode::CutShort => Some([0x87, 0x80]),
        };
        if let Some(flags) = flags {
            let counts = [0, 1, 0, 0, 0, 0, 0, 0];
            let question = query.get(HEADER_BYTES..end + 4)?;
            return Some([&query[..2], &flags, &counts, question].concat());
        }
        let known = self.entries.iter().find(|(entry, _)| *entry == name);
        let cut = transport == "udp" && name.starts_with(LONG);
        let fits = |ip: &IpAddr| !cut && kind == if ip.is_ipv4() { TYPE_A } else { TYPE_AAAA };
        let addresses = known.map_or(&[][..], |(_, addresses)| addresses);
        let mut answers: Vec<Vec<u8>> = addresses.iter().copied().filter(fits).map(octets).collect();
        if known.is_some() && !cut {
            answers.extend(other_data(kind, &name));
        }
        let mut reply = query.get(..2)?.to_vec();
        // Response, authoritative, recursion desired and available; truncated; no such name.
        reply.extend([
            0x85 | if cut { 0x02 } else { 0 },
            0x80 | if known.is_some() { 0 } else { 3 },
        ]);
        reply.extend([0, 1, 0, u8::try_from(answers.len()).ok()?, 0, 0, 0, 0]);
        reply.extend(query.get(HEADER_BYTES..end + 4)?);
        for data in answers {
            reply.extend([0xc0, 12]);
            reply.extend(kind.to_be_bytes());
            reply.extend([0, 1, 0, 0, 0, 60]);
            reply.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
            reply.extend(data);
        }
        Some(reply)
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// What a known name has besides addresses; a long one much of it.
fn other_data(kind: u16, name: &str) -> Option<Vec<u8>> {
    match kind {
        TYPE_MX => Some(vec![0, 10, 0xc0, 12]),
        TYPE_SRV => Some(vec![0, 1, 0, 2, 1, 187, 0xc0, 12]),
        TYPE_TXT => {
            let times = if name.starts_with(LONG) { 400 } else { 1 };
            Some(b"\x09some text".repeat(times))
        }
        _ => None,
    }
}

/// The first question's name in lower case, and where it ends.
fn question_name(query: &[u8]) -> Option<(String, usize)> {
    let mut at = HEADER_BYTES;
    let mut labels = Vec::new();
    loop {
        let len = usize::from(*query.get(at)?);
        at += 1;
        if len == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + len)?).to_ascii_lowercase());
        at += len;
    }
}
