//! Bodies of fuzz targets: any bytes may be given, nothing may panic.

use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::device::DeviceName;
use crate::emit::{ip_header_bytes, write_ip_header};
use crate::exit::{Redirect, Rule};
use crate::packet::{IpPacket, PROTOCOL_TCP, transport_sum};
use crate::resolve::answer::{Verdict, decode_answer};
use crate::resolve::question::{Family, Question, decode_query};
use crate::{
    Exit, ExitConfig, ExitLimits, ExitPolicy, Limits, Network, ResolverGroup, Stack, StackConfig,
    StackHandle, Target,
};

/// Most records that are read from one input.
const MAX_RECORDS: usize = 64;

/// Reads `data` as packets for a stack that is just opening a connection.
pub fn stack_input(data: &[u8]) {
    let Ok(poll) = mio::Poll::new() else { return };
    let Ok(waker) = mio::Waker::new(poll.registry(), mio::Token(0)) else {
        return;
    };
    let Ok(registry) = poll.registry().try_clone() else {
        return;
    };
    let now = Instant::now();
    let network = Network {
        addresses: ["10.8.0.2/24", "fd00::2/64"]
            .iter()
            .filter_map(|net| net.parse().ok())
            .collect(),
        mtu_bytes: 1400,
        resolvers: vec![ResolverGroup::general("10.8.0.53:53".parse())],
        search_domains: Vec::new(),
    };
    let config = StackConfig {
        name: DeviceName::netstack(0),
        network: Some(network),
        limits: Limits {
            receive_buffer_bytes: 8192,
            transmit_buffer_bytes: 8192,
            ..Limits::default()
        },
        seed: 1,
    };
    let (mut stack, handle) = Stack::new(now, config, registry, Arc::new(waker), 1);
    begin_connecting(&mut stack, &handle, now);
    let mut last_sent = Vec::new();
    drain(&mut last_sent, |emit| stack.transmit(now, 64, emit));
    for (step, mut packet) in records(data).enumerate() {
        aim(&mut packet, &last_sent);
        let now = now + Duration::from_millis(step as u64 * 100);
        stack.handle_packet(now, &mut packet);
        stack.handle_timeout(now);
        drain(&mut last_sent, |emit| stack.transmit(now, 64, emit));
    }
}

/// Reads `data` as packets of clients of an exit.
pub fn exit_input(data: &[u8]) {
    let Ok(mut poll) = mio::Poll::new() else { return };
    let Ok(registry) = poll.registry().try_clone() else {
        return;
    };
    let Ok(listener) = TcpListener::bind("127.0.0.1:0") else {
        return;
    };
    let (Ok(host), Ok(inner)) = (listener.local_addr(), "10.8.0.1:80".parse()) else {
        return;
    };
    let everything = ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse().ok());
    let policy = ExitPolicy {
        redirects: vec![Redirect { inner, host }],
        // No packet of a test may leave this machine.
        rules: everything.map(Rule::Deny).collect(),
        host_addresses: Vec::new(),
    };
    let config = ExitConfig {
        addresses: "10.8.0.1/24".parse().into_iter().collect(),
        mtu_bytes: 1400,
        policy,
        limits: ExitLimits {
            receive_buffer_bytes: 8192,
            transmit_buffer_bytes: 8192,
            ..ExitLimits::default()
        },
        seed: 1,
    };
    let now = Instant::now();
    let mut exit = Exit::new(now, config, registry, 0);
    let mut events = mio::Events::with_capacity(16);
    let mut last_sent = Vec::new();
    for (step, mut packet) in records(data).enumerate() {
        aim_at_server(&mut packet);
        aim(&mut packet, &last_sent);
        let now = now + Duration::from_millis(step as u64 * 100);
        exit.handle_packet(now, &mut packet);
        if poll.poll(&mut events, Some(Duration::ZERO)).is_ok() {
            events.iter().for_each(|event| exit.handle_ready(now, event));
        }
        exit.handle_timeout(now);
        drain(&mut last_sent, |emit| exit.transmit(now, 64, emit));
    }
}

/// Reads `data` as an answer of a name server, and gives it on to a client.
pub fn dns_answer(data: &[u8]) {
    let Some((id, _)) = data.split_first_chunk::<2>() else {
        return;
    };
    let id = u16::from_be_bytes(*id);
    for family in [Family::V4, Family::V6] {
        let Some(question) = Question::addresses("host.example", family) else {
            return;
        };
        let Ok((_, asked)) = decode_query(&question.encode(7, true)) else {
            return;
        };
        if let Verdict::Answer(answer) = decode_answer(data, id, &question) {
            assert!(answer.addresses(&question).len() <= data.len());
            let lifetime = answer.lifetime();
            assert!(lifetime.is_none_or(|lifetime| lifetime <= Duration::from_hours(1)));
            let rendered = asked.render(&answer, 5);
            // A client that asked so gets what it can read.
            let again = decode_answer(&rendered, 7, &question);
            assert!(matches!(again, Verdict::Answer(_)), "{again:?}");
        }
    }
}

/// Reads `data` as a query of a local program.
pub fn dns_query(data: &[u8]) {
    if let Ok((question, _)) = decode_query(data) {
        // What goes on is a query itself and asks for the same.
        let again = decode_query(&question.encode(7, true)).map(|(question, _)| question);
        assert_eq!(again, Ok(question));
    }
}

/// Asks for a connection; the answer is never read.
fn begin_connecting(stack: &mut Stack, handle: &StackHandle, now: Instant) {
    let Ok(address) = "10.8.0.1:80".parse() else {
        return;
    };
    let mut asking = std::pin::pin!(handle.connect(Target::Address(address)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let answer = asking.as_mut().poll(&mut context);
    debug_assert!(answer.is_pending(), "only the stack answers");
    stack.handle_commands(now);
}

/// Length-prefixed pieces of the input.
fn records(mut data: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    std::iter::from_fn(move || {
        let (length, rest) = data.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len()).min(2000);
        let (record, rest) = rest.split_at_checked(length)?;
        data = rest;
        Some(record.to_vec())
    })
    .take(MAX_RECORDS)
}

/// Takes everything that is to be sent and remembers the last TCP segment.
fn drain(last_sent: &mut Vec<u8>, mut transmit: impl FnMut(&mut dyn FnMut(&mut [u8]) -> bool) -> bool) {
    for _ in 0..8 {
        let is_more = transmit(&mut |packet| {
            if IpPacket::parse(packet).is_some_and(|packet| packet.protocol == PROTOCOL_TCP) {
                last_sent.clear();
                last_sent.extend_from_slice(packet);
            }
            true
        });
        if !is_more {
            return;
        }
    }
}

/// A record that starts with `S` is a segment of any client to the server, the rest is its header and data.
fn aim_at_server(record: &mut Vec<u8>) {
    let addresses: Option<(IpAddr, IpAddr)> = "10.8.0.2".parse().ok().zip("10.8.0.1".parse().ok());
    let (Some(b'S'), Some((src, dst))) = (record.first(), addresses) else {
        return;
    };
    let mut segment = record.get(1..).unwrap_or_default().to_vec();
    segment.resize(segment.len().max(20), 0);
    patch(&mut segment, 0, &[0x30, 0x39, 0, 80]);
    *record = finish(segment, src, dst);
}

/// A record that starts with `T` becomes a segment of the flow that sent last: its sequence and acknowledgement
/// numbers count from what that one said.
fn aim(record: &mut Vec<u8>, last_sent: &[u8]) {
    let (Some(b'T'), Some(sent)) = (record.first(), IpPacket::parse(last_sent)) else {
        return;
    };
    let mut segment = record.get(1..).unwrap_or_default().to_vec();
    segment.resize(segment.len().max(20), 0);
    let Some([a, b, c, d]) = sent.payload.first_chunk::<4>().copied() else {
        return;
    };
    patch(&mut segment, 0, &[c, d, a, b]);
    let (sequence, acknowledgement) = (word(sent.payload, 4), word(sent.payload, 8));
    let own = word(&segment, 4).wrapping_add(acknowledgement);
    patch(&mut segment, 4, &own.to_be_bytes());
    let theirs = (word(&segment, 8) & 0xff).wrapping_add(sequence);
    patch(&mut segment, 8, &theirs.to_be_bytes());
    *record = finish(segment, sent.dst, sent.src);
}

fn finish(mut segment: Vec<u8>, src: IpAddr, dst: IpAddr) -> Vec<u8> {
    patch(&mut segment, 16, &[0, 0]);
    let checksum = !transport_sum(src, dst, PROTOCOL_TCP, &segment);
    patch(&mut segment, 16, &checksum.to_be_bytes());
    let mut packet = vec![0; ip_header_bytes(dst)];
    packet.extend(segment);
    write_ip_header(&mut packet, src, dst, PROTOCOL_TCP);
    packet
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk::<4>)
        .map_or(0, |word| u32::from_be_bytes(*word))
}

fn patch(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(to) = bytes.get_mut(at..at + value.len()) {
        to.copy_from_slice(value);
    }
}
