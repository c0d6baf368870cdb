//! TCP through the stack and the exit.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Options, PATIENCE, World, pattern, relay, serve};
use crate::{EndReason, FlowError, Limits, LocalSocket};

const SERVER: &str = "10.8.0.1:80";

fn echo(mut stream: TcpStream) {
    let mut buf = [0; 16 * 1024];
    while let Ok(read) = stream.read(&mut buf) {
        if read == 0 || stream.write_all(&buf[..read]).is_err() {
            break;
        }
    }
}

/// Sends `up` and closes, meanwhile reads to the end.
fn exchange(mut stream: TcpStream, up: Vec<u8>) -> Vec<u8> {
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        writer.write_all(&up).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut down = Vec::new();
    stream.read_to_end(&mut down).unwrap();
    writing.join().unwrap();
    down
}

#[test]
fn bulk_data_arrives_unchanged_both_ways() {
    let world = World::start(Options::new().redirect(SERVER, serve(echo)));
    let (stream, end) = world.open(SERVER);
    let up = pattern(8 << 20, 11);
    assert!(exchange(stream, up.clone()) == up, "the echo differs");
    let end = end.recv_timeout(PATIENCE).unwrap();
    assert_eq!(end.reason, EndReason::Finished);
    assert_eq!((end.up_bytes, end.down_bytes), (up.len() as u64, up.len() as u64));
}

#[test]
fn ipv6_and_unix_sockets_work_alike() {
    let world = World::start(Options::new().redirect("[fd00::1]:80", serve(echo)));
    let flow = world.connect("[fd00::1]:80").unwrap();
    assert!(flow.local.is_ipv6());
    let (mut ours, local) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let end = relay(flow, LocalSocket::Unix(local), b"early ".to_vec());
    ours.write_all(b"late").unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    ours.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"early late");
    assert_eq!(end.recv_timeout(PATIENCE).unwrap().reason, EndReason::Finished);
}

#[test]
fn each_direction_closes_on_its_own() {
    // The server closes first and still reads; then it tells what it read.
    let (told, heard) = mpsc::channel();
    let host = serve(move |mut stream| {
        stream.write_all(b"goodbye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        told.send(rest).unwrap();
    });
    let world = World::start(Options::new().redirect(SERVER, host));
    let (mut stream, end) = world.open(SERVER);
    let mut down = Vec::new();
    stream.read_to_end(&mut down).unwrap();
    assert_eq!(down, b"goodbye");
    let up = pattern(1 << 20, 12);
    stream.write_all(&up).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(heard.recv_timeout(PATIENCE).unwrap() == up);
    assert_eq!(end.recv_timeout(PATIENCE).unwrap().reason, EndReason::Finished);
}

#[test]
fn a_local_close_loses_nothing_that_the_far_end_sent_before_its_own() {
    const SENT: usize = 480 * 1024;
    let down = pattern(SENT, 14);
    let sent = down.clone();
    let host = serve(move |mut stream| {
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        // The end of the stream, or of the connection: either is the other side's business.
        stream.read_to_end(&mut rest).ok();
    });
    let world = World::start(Options::new().redirect(SERVER, host));
    let flow = world.connect(SERVER).unwrap();
    let (mut ours, local) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let end = relay(flow, LocalSocket::Unix(local), Vec::new());
    let begun = Instant::now();
    while world.stats().0.bytes_in < SENT as u64 {
        assert!(begun.elapsed() < PATIENCE, "the bytes do not come");
    }
    // Turns of the loop in which the far end's close comes, and those in which the answer to ours does.
    for _turn in 0..200 {
        world.stats();
    }
    ours.shutdown(Shutdown::Write).unwrap();
    for _turn in 0..200 {
        world.stats();
    }
    let mut got = Vec::new();
    ours.read_to_end(&mut got).unwrap();
    assert!(got == down, "{} of {SENT} bytes", got.len());
    assert_eq!(end.recv_timeout(PATIENCE).unwrap().reason, EndReason::Finished);
}

#[test]
fn a_relay_that_is_dropped_resets_both_sides() {
    let (tell, told) = mpsc::channel();
    let host = serve(move |mut stream| {
        tell.send(stream.read_to_end(&mut Vec::new()).is_ok()).ok();
    });
    let world = World::start(Options::new().redirect(SERVER, host));
    let flow = world.connect(SERVER).unwrap();
    let (mut ours, local) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    {
        // Once, so that the socket is handed over.
        let mut relay = std::pin::pin!(flow.relay(LocalSocket::Unix(local), Vec::new()));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(relay.as_mut().poll(&mut context).is_pending());
    }
    assert!(!matches!(ours.read(&mut [0]), Ok(1..)));
    assert!(told.recv_timeout(PATIENCE).is_ok(), "the far end is never told");
    let begun = Instant::now();
    while world.stats().0.flows_open > 0 {
        assert!(begun.elapsed() < PATIENCE, "the flow stays");
    }
}

#[test]
fn a_reset_by_the_host_resets_the_local_socket() {
    let host = serve(|mut stream| {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    });
    let world = World::start(Options::new().redirect(SERVER, host));
    let (mut stream, end) = world.open(SERVER);
    stream.write_all(b"x").unwrap();
    let mut rest = Vec::new();
    assert_eq!(
        stream.read_to_end(&mut rest).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    assert_eq!(end.recv_timeout(PATIENCE).unwrap().reason, EndReason::RemoteReset);
}

#[test]
fn a_reset_of_the_local_socket_resets_the_host() {
    let (told, heard) = mpsc::channel();
    let host = serve(move |mut stream| {
        let mut rest = Vec::new();
        told.send(stream.read_to_end(&mut rest).map_err(|error| error.kind()))
            .unwrap();
    });
    let world = World::start(Options::new().redirect(SERVER, host));
    let (mut stream, end) = world.open(SERVER);
    stream.write_all(b"x").unwrap();
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
    assert_eq!(
        heard.recv_timeout(PATIENCE).unwrap(),
        Err(ErrorKind::ConnectionReset)
    );
    assert_eq!(end.recv_timeout(PATIENCE).unwrap().reason, EndReason::LocalReset);
}

#[test]
fn a_flow_that_is_dropped_is_reset() {
    let (told, heard) = mpsc::channel();
    let host = serve(move |mut stream| {
        let mut rest = Vec::new();
        told.send(stream.read_to_end(&mut rest).map_err(|error| error.kind()))
            .unwrap();
    });
    let world = World::start(Options::new().redirect(SERVER, host));
    drop(world.connect(SERVER).unwrap());
    assert_eq!(
        heard.recv_timeout(PATIENCE).unwrap(),
        Err(ErrorKind::ConnectionReset)
    );
    let begun = Instant::now();
    while world.stats().0.flows_open > 0 {
        assert!(begun.elapsed() < PATIENCE, "the flow stays");
    }
}

#[test]
fn a_refused_dial_is_a_refused_connection() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = World::start(Options::new().redirect(SERVER, closed));
    assert_eq!(world.connect(SERVER).unwrap_err(), FlowError::Refused);
    // Without a redirect the server's own address has no open port, and the policy forbids loopback.
    assert_eq!(world.connect("10.8.0.1:81").unwrap_err(), FlowError::Refused);
    assert_eq!(world.connect("127.0.0.1:80").unwrap_err(), FlowError::Refused);
    assert_eq!(
        world.connect("10.8.0.77:80").unwrap_err(),
        FlowError::HostUnreachable
    );
    // The inner network in translated spellings.
    for spelling in ["[::ffff:10.8.0.77]:80", "[64:ff9b::a08:4d]:80"] {
        assert_eq!(
            world.connect(spelling).unwrap_err(),
            FlowError::HostUnreachable,
            "{spelling}"
        );
    }
    assert_eq!(
        world.connect("0.0.0.0:80").unwrap_err(),
        FlowError::NetworkUnreachable
    );
    assert_eq!(
        world.connect("10.8.0.1:0").unwrap_err(),
        FlowError::NetworkUnreachable
    );
}

#[test]
fn five_hundred_flows_at_once_all_finish() {
    let world = World::start(Options::new().redirect(SERVER, serve(echo)));
    let mut open: Vec<_> = (0..500).map(|_| world.open(SERVER)).collect();
    assert!(world.stats().0.flows_open >= 500);
    for (number, (stream, _)) in open.iter_mut().enumerate() {
        stream.write_all(&pattern(4096, number as u64)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }
    for (number, (mut stream, end)) in open.into_iter().enumerate() {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer == pattern(4096, number as u64), "flow {number}");
        assert_eq!(
            end.recv_timeout(PATIENCE).unwrap().reason,
            EndReason::Finished,
            "flow {number}"
        );
    }
}

#[test]
fn a_reader_that_does_not_read_holds_no_more_than_the_buffers() {
    let limits = Limits {
        receive_buffer_bytes: 64 * 1024,
        transmit_buffer_bytes: 64 * 1024,
        ..Limits::default()
    };
    let (told, heard) = mpsc::channel();
    let host = serve(move |mut stream| {
        stream.set_nonblocking(true).unwrap();
        let mut sent = 0u64;
        let mut stuck_since = Instant::now();
        while stuck_since.elapsed() < Duration::from_millis(500) {
            match stream.write(&[7; 8 * 1024]) {
                Ok(written) => {
                    sent += written as u64;
                    stuck_since = Instant::now();
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            std::thread::yield_now();
        }
        drop(stream);
        told.send(sent).unwrap();
    });
    let world = World::start(
        Options {
            limits,
            ..Options::new()
        }
        .redirect(SERVER, host),
    );
    let (mut stream, _end) = world.open(SERVER);
    let sent = heard.recv_timeout(PATIENCE).unwrap();
    // Two kernels' socket buffers, the exit's ring and ours.
    assert!(sent < 24 << 20, "{sent} bytes are somewhere");
    let mut total = 0;
    let mut buf = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buf) {
        total += read as u64;
    }
    assert_eq!(total, sent);
}

#[test]
fn a_tenth_of_the_packets_lost_is_only_slow() {
    let options = Options {
        loss_permille: 100,
        skips_time: true,
        ..Options::new()
    };
    let world = World::start(options.redirect(SERVER, serve(echo)));
    let (stream, end) = world.open(SERVER);
    let up = pattern(300_000, 13);
    assert!(exchange(stream, up.clone()) == up, "the echo differs");
    assert_eq!(end.recv_timeout(PATIENCE).unwrap().reason, EndReason::Finished);
}

#[test]
fn an_idle_relay_is_ended() {
    let limits = Limits {
        idle_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let world = World::start(
        Options {
            limits,
            ..Options::new()
        }
        .redirect(SERVER, serve(echo)),
    );
    let (mut stream, end) = world.open(SERVER);
    assert_eq!(end.recv_timeout(PATIENCE).unwrap().reason, EndReason::IdleTimeout);
    assert_eq!(
        stream.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn flows_beyond_the_limit_are_refused_and_their_room_comes_back() {
    let limits = Limits {
        flows: 2,
        ..Limits::default()
    };
    let world = World::start(
        Options {
            limits,
            ..Options::new()
        }
        .redirect(SERVER, serve(echo)),
    );
    let first = world.connect(SERVER).unwrap();
    let _second = world.connect(SERVER).unwrap();
    assert_eq!(world.connect(SERVER).unwrap_err(), FlowError::TooManyFlows);
    drop(first);
    let begun = Instant::now();
    while world.connect(SERVER).is_err() {
        assert!(begun.elapsed() < PATIENCE, "no room came back");
    }
}
