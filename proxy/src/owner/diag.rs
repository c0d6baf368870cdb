//! The kernel's socket diagnosis (`sock_diag(7)`): one request for one socket, answered before `send` returns.
//!
//! One netlink socket for the process, opened when it is first needed and again after any trouble, so that no answer
//! of a former question is ever taken for one to the next. It never waits.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, TCP_CLOSE, TCP_LISTEN, TCP_TIME_WAIT,
};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddress};

use super::{Client, LookupError, Transport};

/// Longest part of an answer (`NLMSG_GOODSIZE` and what dumps may grow to).
const PART_BYTES: usize = 32 * 1024;
/// Parts of an answer that are read: sockets on one port do not fill one.
const PARTS: usize = 64;
/// "Any cookie" (`INET_DIAG_NOCOOKIE`).
const NO_COOKIE: [u8; 8] = [0xff; 8];
/// `ENOENT`: no such socket, or no such diagnosis in this kernel.
const NO_ENTRY: i32 = 2;

static DIAGNOSIS: Mutex<Diagnosis> = Mutex::new(Diagnosis {
    socket: None,
    sequence: 0,
    knows_tcp: false,
});

/// The open socket, and what is known of the kernel at its other end.
#[derive(Debug)]
struct Diagnosis {
    socket: Option<Socket>,
    sequence: u32,
    /// It has found a TCP socket before: that it finds none means that there is none.
    knows_tcp: bool,
}

/// The users of the sockets that `client` asks about.
pub(super) fn owners(client: Client) -> Result<Vec<u32>, LookupError> {
    let mut diagnosis = DIAGNOSIS.lock().unwrap_or_else(PoisonError::into_inner);
    let result = match client.transport {
        Transport::Tcp => diagnosis.tcp(client),
        Transport::Udp => diagnosis.udp(client),
    };
    if result.is_err() {
        diagnosis.socket = None;
    }
    result
}

impl Diagnosis {
    fn tcp(&mut self, client: Client) -> Result<Vec<u32>, LookupError> {
        let request = request(IPPROTO_TCP, client.own, client.to);
        match self.ask(request, NLM_F_REQUEST) {
            Ok(found) => {
                self.knows_tcp = true;
                Ok(users(client, &found))
            }
            Err(LookupError::Diagnosis(error)) if is_absent(&error) && self.knows_tcp => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Sockets of IPv6 can send IPv4 datagrams, so that both tables are asked.
    fn udp(&mut self, client: Client) -> Result<Vec<u32>, LookupError> {
        let port = client.own.port();
        let mut all = Vec::new();
        for any in [
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ] {
            let request = request(IPPROTO_UDP, SocketAddr::new(any, port), SocketAddr::new(any, 0));
            match self.ask(request, NLM_F_REQUEST | NLM_F_DUMP) {
                Ok(found) => all.extend(users(client, &found)),
                // A kernel without IPv6.
                Err(LookupError::Diagnosis(error)) if any.is_ipv6() && is_absent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Sends one request and reads its whole answer.
    fn ask(&mut self, request: InetRequest, flags: u16) -> Result<Vec<InetResponse>, LookupError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => open().map_err(LookupError::Diagnosis)?,
        };
        let socket = self.socket.insert(socket);
        socket.send(&bytes, 0).map_err(LookupError::Diagnosis)?;
        let mut found = Vec::new();
        let mut part = Vec::with_capacity(PART_BYTES);
        for _ in 0..PARTS {
            part.clear();
            socket.recv(&mut part, 0).map_err(LookupError::Diagnosis)?;
            let is_whole = take_part(&part, self.sequence, &mut found)?;
            if is_whole || flags & NLM_F_DUMP == 0 {
                return Ok(found);
            }
        }
        Err(LookupError::Answer)
    }
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.set_non_blocking(true)?;
    socket.bind_auto()?;
    // Port 0 is the kernel: from here on nobody else's messages arrive.
    socket.connect(&NetlinkAddress::new(0, 0))?;
    Ok(socket)
}

fn request(protocol: u8, local: SocketAddr, remote: SocketAddr) -> InetRequest {
    InetRequest {
        family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: local.port(),
            destination_port: remote.port(),
            source_address: local.ip(),
            destination_address: remote.ip(),
            interface_id: 0,
            cookie: NO_COOKIE,
        },
    }
}

/// Takes the messages of one part; says whether the answer is whole with it.
fn take_part(part: &[u8], sequence: u32, found: &mut Vec<InetResponse>) -> Result<bool, LookupError> {
    let mut rest = part;
    while !rest.is_empty() {
        let length = NetlinkBuffer::new_checked(rest)
            .map_err(|_| LookupError::Answer)?
            .length();
        let message =
            NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(|_| LookupError::Answer)?;
        if message.header.sequence_number != sequence {
            return Err(LookupError::Answer);
        }
        match message.payload {
            NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => found.push(*response),
            NetlinkPayload::Done(_) => return Ok(true),
            NetlinkPayload::Error(error) => return Err(LookupError::Diagnosis(error.to_io())),
            // Not what was asked for, and so is whatever the library learns yet.
            NetlinkPayload::Noop | NetlinkPayload::Overrun(_) | NetlinkPayload::InnerMessage(_) | _ => {
                return Err(LookupError::Answer);
            }
        }
        // Messages are padded to four bytes (`NLMSG_ALIGN`), the last one not always.
        let padded = usize::try_from(length).map_or(usize::MAX, |length| length.next_multiple_of(4));
        rest = rest.get(padded..).unwrap_or_default();
    }
    Ok(false)
}

/// The users of those that are the client's and that a program still holds.
fn users(client: Client, found: &[InetResponse]) -> Vec<u32> {
    let of_client = |response: &&InetResponse| {
        let header = &response.header;
        let id = &header.socket_id;
        let local = SocketAddr::new(id.source_address, id.source_port);
        let remote = SocketAddr::new(id.destination_address, id.destination_port);
        let is_connected = client.transport == Transport::Udp
            || !matches!(header.state, TCP_LISTEN | TCP_TIME_WAIT | TCP_CLOSE);
        client.is(local, remote) && is_connected && header.inode != 0
    };
    let users = found.iter().filter(of_client);
    users.map(|response| response.header.uid).collect()
}

fn is_absent(error: &io::Error) -> bool {
    error.raw_os_error() == Some(NO_ENTRY)
}
