//! What outlives a lost session, and UDP and echo beside TCP.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::{CLIENT, Options, PATIENCE, World, network, serve};
use crate::exit::Rule;
use crate::packet::{IpPacket, PROTOCOL_ICMP};
use crate::{EndReason, Exit, ExitConfig, ExitLimits, ExitPolicy, FlowError, Limits, Network, Target, emit};

const SERVER: &str = "10.8.0.1:80";

fn echo(mut stream: TcpStream) {
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
}

fn round_trip(stream: &mut TcpStream) {
    stream.write_all(b"x").unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}

#[test]
fn flows_go_on_when_the_same_address_comes_back() {
    let world = World::start(Options::new().redirect(SERVER, serve(echo)));
    let (mut stream, _end) = world.open(SERVER);
    round_trip(&mut stream);
    world.order(|stack, _, now| stack.take_down(now));
    stream.write_all(b"y").unwrap();
    world.order(|stack, _, now| stack.bring_up(now, network()));
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"y");
    round_trip(&mut stream);
}

#[test]
fn flows_are_reset_when_the_address_changes() {
    let world = World::start(Options::new().redirect(SERVER, serve(echo)));
    let (mut stream, end) = world.open(SERVER);
    round_trip(&mut stream);
    world.order(|stack, _, now| {
        stack.take_down(now);
        let addresses = vec!["10.8.0.9/24".parse().unwrap()];
        stack.bring_up(
            now,
            Network {
                addresses,
                ..network()
            },
        );
    });
    assert_eq!(
        end.recv_timeout(PATIENCE).unwrap().reason,
        EndReason::AddressChanged
    );
    assert_eq!(
        stream.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    let flow = world.connect(SERVER).unwrap();
    assert_eq!(flow.local.ip().to_string(), "10.8.0.9");
    assert_eq!(
        world.connect("[fd00::1]:80").unwrap_err(),
        FlowError::NetworkUnreachable
    );
}

#[test]
fn a_local_reset_is_noticed_while_the_tunnel_is_down() {
    let world = World::start(Options::new().redirect(SERVER, serve(echo)));
    let (mut stream, end) = world.open(SERVER);
    round_trip(&mut stream);
    world.order(|stack, _, now| stack.take_down(now));
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
    assert_eq!(end.recv_timeout(PATIENCE).unwrap().reason, EndReason::LocalReset);
    assert_eq!(world.stats().0.flows_open, 0);
}

#[test]
fn new_flows_wait_for_the_tunnel_but_not_for_ever() {
    let limits = Limits {
        down_wait: Duration::from_millis(100),
        ..Limits::default()
    };
    let world = World::start(
        Options {
            limits,
            network: None,
            ..Options::new()
        }
        .redirect(SERVER, serve(echo)),
    );
    assert_eq!(world.connect(SERVER).unwrap_err(), FlowError::TunnelDown);
    assert_eq!(
        world.wait(world.handle.resolve("host.example")).unwrap_err(),
        FlowError::TunnelDown
    );
}

#[test]
fn a_flow_asked_for_while_down_is_opened_once_up() {
    let world = World::start(
        Options {
            network: None,
            ..Options::new()
        }
        .redirect(SERVER, serve(echo)),
    );
    let handle = world.handle.clone();
    let (told, heard) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        told.send(()).unwrap();
        runtime.block_on(handle.connect(Target::Address(SERVER.parse().unwrap())))
    });
    heard.recv_timeout(PATIENCE).unwrap();
    world.order(|stack, _, now| stack.bring_up(now, network()));
    assert!(waiting.join().unwrap().is_ok());
}

#[test]
fn everything_ends_when_the_stack_goes() {
    let world = World::start(Options::new().redirect(SERVER, serve(echo)));
    let (mut stream, end) = world.open(SERVER);
    round_trip(&mut stream);
    let handle = world.handle.clone();
    let socket = world.wait(handle.bind_udp()).unwrap();
    drop(world);
    assert_eq!(end.recv_timeout(PATIENCE).unwrap().reason, EndReason::Closed);
    assert_eq!(
        stream.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(socket.recv_from()), None);
    assert_eq!(
        runtime.block_on(handle.resolve("x")).unwrap_err(),
        FlowError::Closed
    );
}

#[test]
fn a_target_that_never_answers_times_out() {
    // A listener whose queue nobody empties still connects; a network without a server end does not.
    let limits = Limits {
        connect_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let world = World::start(Options {
        limits,
        loss_permille: 1000,
        ..Options::new()
    });
    assert_eq!(world.connect(SERVER).unwrap_err(), FlowError::TimedOut);
    let begun = Instant::now();
    while world.stats().0.flows_open > 0 {
        assert!(begun.elapsed() < PATIENCE, "the attempt stays");
    }
}

#[test]
fn datagrams_go_both_ways() {
    let host = UdpSocket::bind("127.0.0.1:0").unwrap();
    host.set_read_timeout(Some(PATIENCE)).unwrap();
    let options = Options::new()
        .redirect("10.8.0.1:5000", host.local_addr().unwrap())
        .redirect("[fd00::1]:5000", host.local_addr().unwrap());
    let world = World::start(options);
    let socket = world.wait(world.handle.bind_udp()).unwrap();
    let to = "10.8.0.1:5000".parse().unwrap();
    for len in [0usize, 1, 1372, 1373, 9000, 65_507] {
        socket.send_to(vec![7; len], to).unwrap();
        let mut buf = vec![0; 65_536];
        let (read, from) = host.recv_from(&mut buf).unwrap();
        assert_eq!(read, len);
        host.send_to(&buf[..read], from).unwrap();
        let (payload, source) = world.wait(socket.recv_from()).unwrap();
        assert_eq!((payload.len(), source), (len, to));
    }
    // Cut up and put together on both ways, in both families.
    let to_v6 = "[fd00::1]:5000".parse().unwrap();
    let long: Vec<u8> = super::pattern(40_000, 5);
    socket.send_to(long.clone(), to_v6).unwrap();
    let mut buf = vec![0; 65_536];
    let (read, from) = host.recv_from(&mut buf).unwrap();
    assert!(buf[..read] == long, "{read} bytes");
    host.send_to(&buf[..read], from).unwrap();
    let (payload, source) = world.wait(socket.recv_from()).unwrap();
    assert!(payload == long && source == to_v6, "{} bytes", payload.len());
    // One byte more than any datagram has is dropped, not cut.
    socket.send_to(vec![0; 65_508], to).unwrap();
    let begun = Instant::now();
    while world.stats().0.dropped_out == 0 {
        assert!(begun.elapsed() < PATIENCE, "nothing was dropped");
    }
}

#[test]
fn echo_requests_to_inner_addresses_are_answered() {
    let world = World::start(Options::new());
    let answers = world.order(|stack, exit, now| {
        let ours: std::net::IpAddr = CLIENT.split('/').next().unwrap().parse().unwrap();
        let server: std::net::IpAddr = "10.8.0.1".parse().unwrap();
        let mut request = Vec::new();
        assert!(emit::icmp(
            &mut request,
            server,
            ours,
            [&[8, 0, 0, 0], b"\x12\x34\x00\x01ping"]
        ));
        stack.handle_packet(now, &mut request);
        assert!(emit::icmp(
            &mut request,
            ours,
            server,
            [&[8, 0, 0, 0], b"\x12\x34\x00\x01ping"]
        ));
        exit.handle_packet(now, &mut request);
        let mut answers = Vec::new();
        stack.transmit(now, 8, &mut |packet| {
            answers.push(packet.to_vec());
            true
        });
        exit.transmit(now, 8, &mut |packet| {
            answers.push(packet.to_vec());
            true
        });
        answers
    });
    assert_eq!(answers.len(), 2);
    for answer in answers {
        let packet = IpPacket::parse(&answer).unwrap();
        assert_eq!(packet.protocol, PROTOCOL_ICMP);
        assert!(packet.header_is_intact() && emit::icmp_is_intact(&packet));
        assert_eq!(packet.payload[..2], [0, 0]);
        assert_eq!(&packet.payload[4..], b"\x12\x34\x00\x01ping");
    }
}

#[test]
fn a_loop_with_nothing_to_do_sleeps() {
    let world = World::start(Options::new().redirect(SERVER, serve(echo)));
    let (mut stream, _end) = world.open(SERVER);
    round_trip(&mut stream);
    let begun = Instant::now();
    let sleeps = || {
        world.order(|stack, exit, now| {
            let is_busy = stack.transmit(now, 64, &mut |_| true) | exit.transmit(now, 64, &mut |_| true);
            let due = [stack.poll_timeout(), exit.poll_timeout()]
                .into_iter()
                .flatten()
                .min();
            !is_busy && due.is_none_or(|due| due > now + Duration::from_secs(5))
        })
    };
    while !sleeps() {
        assert!(begun.elapsed() < PATIENCE, "the loop never comes to rest");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_packet_that_was_refused_is_offered_again() {
    let world = World::start(Options {
        network: None,
        ..Options::new()
    });
    let offered = world.order(|stack, _, now| {
        stack.bring_up(now, network());
        let ours = "10.8.0.2".parse().unwrap();
        let server = "10.8.0.1".parse().unwrap();
        let mut request = Vec::new();
        assert!(emit::icmp(&mut request, server, ours, [&[8, 0, 0, 0], b"abcd"]));
        stack.handle_packet(now, &mut request);
        let mut offered = Vec::new();
        for is_taken in [false, false, true, true] {
            let is_more = stack.transmit(now, 8, &mut |packet| {
                offered.push(packet.to_vec());
                is_taken
            });
            assert_eq!(is_more, !is_taken);
        }
        offered
    });
    assert_eq!(offered.len(), 3);
    assert!(offered.iter().all(|packet| *packet == offered[0]));
}

#[test]
fn echo_beyond_the_server_is_answered_or_prohibited() {
    let mut poll = mio::Poll::new().unwrap();
    let now = Instant::now();
    let config = ExitConfig {
        addresses: vec!["10.8.0.1/24".parse().unwrap()],
        mtu_bytes: 1400,
        policy: ExitPolicy {
            rules: vec![Rule::Allow("127.0.0.1/32".parse().unwrap())],
            ..ExitPolicy::default()
        },
        limits: ExitLimits::default(),
        seed: 1,
    };
    let mut exit = Exit::new(now, config, poll.registry().try_clone().unwrap(), 0);
    let (client, host) = ("10.8.0.2".parse().unwrap(), "127.0.0.1".parse().unwrap());
    let mut request = Vec::new();
    assert!(emit::icmp(
        &mut request,
        client,
        host,
        [&[8, 0, 0, 0], b"\x12\x34\x00\x07payload"]
    ));
    exit.handle_packet(now, &mut request);
    let mut answer = Vec::new();
    let mut events = mio::Events::with_capacity(8);
    for _ in 0..100 {
        exit.transmit(now, 8, &mut |packet| {
            answer = packet.to_vec();
            true
        });
        if !answer.is_empty() {
            break;
        }
        poll.poll(&mut events, Some(Duration::from_millis(50))).unwrap();
        events.iter().for_each(|event| exit.handle_ready(now, event));
    }
    let packet = IpPacket::parse(&answer).unwrap();
    assert!(packet.header_is_intact() && emit::icmp_is_intact(&packet));
    // Whether there are ping sockets for us is the kernel's setting.
    match packet.payload[0] {
        0 => assert_eq!(&packet.payload[4..], b"\x12\x34\x00\x07payload"),
        kind => assert_eq!((kind, packet.payload[1]), (3, 13)),
    }
    exit.handle_timeout(now + Duration::from_mins(1));
    assert_eq!(exit.stats().flows_open, 0);
}

#[test]
fn unknown_segments_are_reset_at_a_limited_rate() {
    let world = World::start(Options::new());
    let count = world.order(|stack, _, now| {
        let mut count = 0;
        for _ in 0..1500 {
            let mut segment = vec![0; 40];
            segment[20..24].copy_from_slice(&[0x30, 0x39, 0xc0, 0x01]);
            segment[32] = 5 << 4;
            segment[33] = 0x10;
            assert!(emit::write_ip_header(
                &mut segment,
                "10.8.0.1".parse().unwrap(),
                "10.8.0.2".parse().unwrap(),
                6
            ));
            stack.handle_packet(now, &mut segment);
            stack.transmit(now, 8, &mut |packet| {
                assert_eq!(packet[33] & 0x04, 0x04);
                count += 1;
                true
            });
        }
        count
    });
    assert!((1..=1000).contains(&count), "{count} resets");
}
