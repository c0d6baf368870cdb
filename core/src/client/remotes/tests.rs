//! The order of attempts and the pauses between them.

use super::*;
use crate::{
    config::Directives,
    session::{RestartFlags, TempFlags},
    testing::SeededRng,
};

fn remotes(lines: &str) -> Remotes {
    let text = format!("client\n{lines}\nauth-user-pass\n<ca>\n-----BEGIN CERTIFICATE-----\n</ca>\n");
    let directives = Directives::parse("remotes.ovpn", &text).unwrap();
    let (config, _) = ClientConfig::resolve(&directives, &mut |_| Err("no files".to_owned())).unwrap();
    Remotes::new(&config, &mut SeededRng::new(1))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 1194))
}

fn failed() -> CloseReason {
    CloseReason::ConnectFailed("no".into())
}

fn silent() -> CloseReason {
    CloseReason::NoAnswer {
        after: seconds(120),
        foreign: 0,
    }
}

#[test]
fn every_address_is_tried_before_the_next_remote_and_the_list_wraps_around() {
    let mut remotes = remotes("remote a.example\nremote b.example");
    assert_eq!(remotes.next_attempt().unwrap().wait, Duration::ZERO);
    remotes.resolved([address(1), address(2)]);
    let mut seen = Vec::new();
    for _ in 0..4 {
        remotes.on_closed(&failed());
        let attempt = remotes.next_attempt().unwrap();
        seen.push((attempt.index, attempt.address));
    }
    assert_eq!(seen, [(0, Some(address(2))), (1, None), (0, None), (1, None)]);
}

#[test]
fn pauses_double_after_four_rounds_up_to_the_maximum() {
    let mut remotes = remotes("remote a.example\nremote b.example\nconnect-retry 1 30");
    let mut waits = Vec::new();
    for _ in 0..20 {
        remotes.on_closed(&failed());
        waits.push(remotes.next_attempt().unwrap().wait.as_secs());
    }
    assert_eq!(
        waits,
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 30, 30, 30]
    );
}

#[test]
fn a_server_that_does_not_answer_costs_no_pause_besides() {
    let mut remotes = remotes("remote a.example");
    remotes.on_closed(&silent());
    assert_eq!(remotes.next_attempt().unwrap().wait, Duration::ZERO);
}

#[test]
fn what_worked_is_tried_again_first_whatever_ended_it() {
    for reason in [
        failed(),
        CloseReason::ConnectionReset("reset".into()),
        CloseReason::PingRestart,
        CloseReason::RemoteExit,
        CloseReason::PathLost("gone".into()),
    ] {
        let mut remotes = remotes("remote a.example\nremote b.example");
        remotes.next_attempt();
        remotes.resolved([address(1)]);
        remotes.on_connected();
        remotes.on_closed(&reason);
        let again = remotes.next_attempt().unwrap();
        assert_eq!((again.index, again.address), (0, Some(address(1))), "{reason}");
        remotes.on_closed(&silent());
        assert_eq!(remotes.next_attempt().unwrap().index, 1, "{reason}");
    }
}

#[test]
fn silence_before_anything_worked_is_a_failed_attempt() {
    let mut remotes = remotes("remote a.example\nremote b.example");
    remotes.on_closed(&CloseReason::PingRestart);
    assert_eq!(remotes.next_attempt().unwrap().index, 1);
}

#[test]
fn a_lost_way_is_no_reason_to_wait_unless_it_is_lost_again_at_once() {
    let mut remotes = remotes("remote a.example");
    remotes.on_connected();
    remotes.on_closed(&CloseReason::PathLost("gone".into()));
    assert_eq!(remotes.next_attempt().unwrap().wait, Duration::ZERO);
    remotes.on_closed(&CloseReason::PathLost("gone".into()));
    assert_eq!(remotes.next_attempt().unwrap().wait, seconds(1));
}

#[test]
fn what_the_server_asks_for_is_waited_and_its_next_remote_taken() {
    let mut remotes = remotes("remote a.example\nremote b.example");
    remotes.on_connected();
    let flags = TempFlags {
        backoff_seconds: Some(20),
        ..TempFlags::default()
    };
    remotes.on_closed(&CloseReason::AuthTemporary(flags));
    let attempt = remotes.next_attempt().unwrap();
    assert_eq!(
        (attempt.index, attempt.wait, attempt.demanded),
        (0, seconds(20), seconds(20))
    );
    remotes.on_connected();
    let flags = RestartFlags {
        next_remote: true,
        ..RestartFlags::default()
    };
    remotes.on_closed(&CloseReason::Restart(flags));
    let attempt = remotes.next_attempt().unwrap();
    assert_eq!((attempt.index, attempt.demanded), (1, Duration::ZERO));
}

#[test]
fn attempts_end_with_connect_retry_max_rounds_that_failed_in_a_row() {
    let mut remotes = remotes("remote a.example\nremote b.example\nconnect-retry-max 2");
    for _ in 0..2 {
        assert!(remotes.next_attempt().is_some());
        for _ in 0..3 {
            remotes.on_closed(&failed());
            assert!(remotes.next_attempt().is_some());
        }
        remotes.on_connected();
        remotes.on_closed(&CloseReason::PingRestart);
    }
    assert!(remotes.next_attempt().is_some(), "the one that worked");
    for _ in 0..3 {
        remotes.on_closed(&failed());
        assert!(remotes.next_attempt().is_some());
    }
    remotes.on_closed(&failed());
    assert_eq!(remotes.next_attempt(), None);
}

#[test]
fn a_random_order_has_every_remote_once_and_stays() {
    let lines = (0..8).fold(String::new(), |lines, n| {
        lines + &format!("remote r{n}.example\n")
    });
    let mut remotes = remotes(&format!("remote-random\n{lines}"));
    let mut round = || {
        (0..8)
            .map(|_| {
                remotes.on_closed(&failed());
                remotes.next_attempt().unwrap().index
            })
            .collect::<Vec<_>>()
    };
    let (first, second) = (round(), round());
    assert_eq!(first, second);
    let mut sorted = first.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..8).collect::<Vec<_>>());
    assert_ne!(first, sorted);
}
