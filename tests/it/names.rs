//! A small name server over UDP and TCP that remembers what it was asked.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::netns::Host;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const HEADER_BYTES: usize = 12;
/// Names that start with this are cut short over UDP, so that they have to be asked again over TCP.
const LONG: &str = "long.";

/// A name and its addresses.
type Entry = (String, Vec<IpAddr>);

/// A running name server.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    entries: Arc<Vec<Entry>>,
    asked: Arc<Mutex<Vec<String>>>,
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
        let known = self.entries.iter().find(|(entry, _)| *entry == name);
        let cut = transport == "udp" && name.starts_with(LONG);
        let fits = |ip: &IpAddr| !cut && kind == if ip.is_ipv4() { TYPE_A } else { TYPE_AAAA };
        let addresses = known.map_or(&[][..], |(_, addresses)| addresses);
        let answers: Vec<_> = addresses.iter().copied().filter(fits).collect();
        let mut reply = query.get(..2)?.to_vec();
        // Response, authoritative, recursion desired and available; truncated; no such name.
        reply.extend([
            0x85 | if cut { 0x02 } else { 0 },
            0x80 | if known.is_some() { 0 } else { 3 },
        ]);
        reply.extend([0, 1, 0, u8::try_from(answers.len()).ok()?, 0, 0, 0, 0]);
        reply.extend(query.get(HEADER_BYTES..end + 4)?);
        for ip in answers {
            reply.extend([0xc0, 12]);
            reply.extend(kind.to_be_bytes());
            reply.extend([0, 1, 0, 0, 0, 60]);
            match ip {
                IpAddr::V4(ip) => reply.extend([&[0, 4], &ip.octets()[..]].concat()),
                IpAddr::V6(ip) => reply.extend([&[0, 16], &ip.octets()[..]].concat()),
            }
        }
        Some(reply)
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
