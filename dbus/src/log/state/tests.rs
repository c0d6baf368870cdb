//! Who may send and who hears it: attachments, assignments, proxies, and their limits.

use super::*;

const CLIENT: &str = ":1.7";
const MANAGER: &str = ":1.2";
const FRONT_END: &str = ":1.9";
const SESSION: &str = "/net/openvpn/v3/sessions/a";
const OTHER: &str = "/net/openvpn/v3/sessions/b";

/// A session manager, and a client process with its session.
fn state(now: Instant) -> State {
    let mut state = State::new(Some(MANAGER.to_owned()), now);
    state.attach(MANAGER, interface::SESSIONS, now).unwrap();
    state.attach(CLIENT, interface::BACKENDS, now).unwrap();
    state.assign(CLIENT, interface::BACKENDS, SESSION).unwrap();
    state
}

fn line(category: u32) -> Event {
    Event::line(7, category, "text").unwrap()
}

fn status() -> Event {
    Event::status(2, 7, "").unwrap()
}

fn from_client(event: &Event) -> Incoming<'_> {
    Incoming {
        sender: CLIENT,
        path: path::CLIENT,
        interface: interface::BACKENDS,
        event,
    }
}

#[test]
fn an_interface_is_announced_once() {
    let now = Instant::now();
    let mut state = State::new(None, now);
    assert_eq!(state.attach(CLIENT, "a.b", now), Ok(1));
    assert_eq!(state.attach(CLIENT, "a.b", now), Err(Refusal::AlreadyAttached));
    assert_eq!(state.attach(CLIENT, "a.c", now), Ok(2));
    assert_eq!(state.detach(FRONT_END, "a.b"), Err(Refusal::NotAttached));
    assert_eq!(state.detach(CLIENT, "a.b"), Ok(()));
    assert_eq!(state.attached(), 1);
}

#[test]
fn announcements_of_one_connection_are_limited() {
    let now = Instant::now();
    let mut state = State::new(None, now);
    for number in 0..MAX_ATTACHMENTS_OF_ONE {
        state.attach(CLIENT, &format!("a.b{number}"), now).unwrap();
    }
    assert_eq!(state.attach(CLIENT, "a.c", now), Err(Refusal::TooManyAttachments));
    assert!(state.attach(MANAGER, "a.c", now).is_ok());
}

#[test]
fn a_session_has_one_client_and_a_client_one_session() {
    let now = Instant::now();
    let mut state = state(now);
    let backends = interface::BACKENDS;
    assert_eq!(state.assign(CLIENT, backends, SESSION), Ok(()));
    assert_eq!(state.assign(CLIENT, backends, OTHER), Err(Refusal::OtherSession));
    assert_eq!(state.assign(":1.8", backends, SESSION), Err(Refusal::NotAttached));
    state.attach(":1.8", backends, now).unwrap();
    assert_eq!(
        state.assign(":1.8", backends, SESSION),
        Err(Refusal::SessionTaken)
    );
    // The session manager starts another client for the same session when one has crashed.
    assert!(state.vanish(CLIENT));
    assert_eq!(state.assign(":1.8", backends, SESSION), Ok(()));
}

#[test]
fn one_receiver_has_one_proxy_of_a_session() {
    let mut state = state(Instant::now());
    let first = state.proxy(FRONT_END, 1000, SESSION).unwrap();
    assert_eq!(state.proxy(FRONT_END, 1000, SESSION), Ok(first.clone()));
    assert_ne!(state.proxy(":1.10", 1000, SESSION), Ok(first));
    assert_eq!(state.proxy(FRONT_END, 1000, OTHER), Err(Refusal::NoSession));
}

#[test]
fn proxies_are_limited() {
    let now = Instant::now();
    let mut state = State::new(None, now);
    for number in 0..=MAX_PROXIES_OF_ONE {
        let client = format!(":2.{number}");
        state.attach(&client, interface::BACKENDS, now).unwrap();
        state
            .assign(
                &client,
                interface::BACKENDS,
                &format!("{}/{number}", path::SESSIONS),
            )
            .unwrap();
    }
    for number in 0..MAX_PROXIES_OF_ONE {
        let session = format!("{}/{number}", path::SESSIONS);
        assert!(state.proxy(FRONT_END, 1000, &session).is_ok());
    }
    let last = format!("{}/{MAX_PROXIES_OF_ONE}", path::SESSIONS);
    assert_eq!(state.proxy(FRONT_END, 1000, &last), Err(Refusal::TooManyProxies));
    for number in MAX_PROXIES_OF_ONE..MAX_PROXIES {
        assert!(state.proxy(&format!(":3.{number}"), 1000, &last).is_ok());
    }
    assert_eq!(state.proxy(":4.1", 1000, &last), Err(Refusal::TooManyProxies));
}

#[test]
fn what_a_client_says_reaches_the_listeners_of_its_session_alone() {
    let now = Instant::now();
    let mut state = state(now);
    state.proxy(FRONT_END, 1000, SESSION).unwrap();
    state.attach(":1.8", interface::BACKENDS, now).unwrap();
    state.assign(":1.8", interface::BACKENDS, OTHER).unwrap();
    state.proxy(":1.10", 1000, OTHER).unwrap();
    let delivery = state.take(&from_client(&line(1)), 3, now).unwrap();
    assert_eq!(delivery.session.as_deref(), Some(SESSION));
    assert_eq!(delivery.targets, [FRONT_END]);
    assert!(!delivery.is_written);
}

#[test]
fn a_proxy_s_level_filters_lines_but_no_statuses() {
    let now = Instant::now();
    let mut state = state(now);
    let proxy = state.proxy(FRONT_END, 1000, SESSION).unwrap();
    state.proxy_at_mut(&proxy).unwrap().log_level = 1;
    assert!(
        state
            .take(&from_client(&line(4)), 6, now)
            .unwrap()
            .targets
            .is_empty()
    );
    for event in [line(6), status()] {
        let delivery = state.take(&from_client(&event), 0, now).unwrap();
        assert_eq!(delivery.targets, [FRONT_END]);
    }
}

#[test]
fn strangers_and_pretenders_are_ignored() {
    let now = Instant::now();
    let mut state = state(now);
    state.proxy(FRONT_END, 1000, SESSION).unwrap();
    let (line, status) = (line(6), status());
    let stranger = Incoming {
        sender: ":1.66",
        ..from_client(&line)
    };
    assert_eq!(state.take(&stranger, 6, now), None);
    // An interface that the sender did not announce.
    let other_interface = Incoming {
        interface: interface::SESSIONS,
        ..from_client(&line)
    };
    assert_eq!(state.take(&other_interface, 6, now), None);
    // Who announces the session manager's interface is not the session manager by that.
    state.attach(CLIENT, interface::SESSIONS, now).unwrap();
    let pretender = Incoming {
        path: OTHER,
        interface: interface::SESSIONS,
        ..from_client(&status)
    };
    let delivery = state.take(&pretender, 6, now).unwrap();
    assert_eq!((delivery.session, delivery.targets.len()), (None, 0));
}

#[test]
fn the_session_manager_s_own_statuses_are_forwarded_too() {
    let now = Instant::now();
    let mut state = state(now);
    state.proxy(FRONT_END, 1000, SESSION).unwrap();
    // Its last word comes when the client process is gone.
    state.vanish(CLIENT);
    let closed = Event::status(3, 28, "Session closed").unwrap();
    let incoming = Incoming {
        sender: MANAGER,
        path: SESSION,
        interface: interface::SESSIONS,
        event: &closed,
    };
    assert_eq!(state.take(&incoming, 0, now).unwrap().targets, [FRONT_END]);
    let line = line(6);
    let incoming = Incoming {
        event: &line,
        ..incoming
    };
    assert!(state.take(&incoming, 6, now).unwrap().targets.is_empty());
    state.set_session_manager(None);
    let incoming = Incoming {
        event: &closed,
        ..incoming
    };
    assert!(state.take(&incoming, 6, now).unwrap().targets.is_empty());
}

#[test]
fn a_receiver_that_ends_takes_its_proxies_along() {
    let mut state = state(Instant::now());
    let proxy = state.proxy(FRONT_END, 1000, SESSION).unwrap();
    assert!(state.vanish(FRONT_END));
    assert!(state.proxy_at(&proxy).is_none());
    assert!(!state.vanish(FRONT_END));
}

#[test]
fn a_closed_session_has_no_listeners() {
    let mut state = state(Instant::now());
    state.proxy(FRONT_END, 1000, SESSION).unwrap();
    state.close(SESSION);
    assert_eq!(state.proxy_paths().count(), 0);
}

#[test]
fn a_flood_is_cut_and_statuses_still_pass() {
    let now = Instant::now();
    let mut state = state(now);
    state.proxy(FRONT_END, 1000, SESSION).unwrap();
    let line = line(4);
    let passed = (0..10_000).filter(|_| state.take(&from_client(&line), 3, now).is_some());
    assert!(passed.count() < 5000);
    assert!(state.take(&from_client(&status()), 3, now).is_some());
}

#[test]
fn sessions_are_told_by_their_paths() {
    assert!(is_session(SESSION));
    for other in [
        "/net/openvpn/v3/sessions",
        "/net/openvpn/v3/sessions/",
        "/net/openvpn/v3/sessions/a/b",
        "/net/openvpn/v3/sessionsx/a",
    ] {
        assert!(!is_session(other), "{other}");
    }
}
