//! What goes wrong for users: each case ends by itself, with a message that names it and the right exit status.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use crate::netns::Net;
use crate::pki::{Authority, Purpose};
use crate::process::Finished;
use crate::server::{Login, Options, Server, USER, inline, static_key};
use crate::tunnel::finish_client;

/// The client failed.
const FAILED: Option<i32> = Some(1);
/// The server refused the user.
const REFUSED: Option<i32> = Some(3);
/// One attempt, and no long waits.
const ONCE: &str = "connect-retry-max 1\nserver-poll-timeout 4\nhand-window 6\n";
/// Longest time that a failure may take with these.
const LIMIT: Duration = Duration::from_secs(25);

/// Checks the status, and that the message contains one of `words`.
fn says(finished: &Finished, status: Option<i32>, words: &[&str]) {
    let text = finished.stderr.to_ascii_lowercase();
    assert_eq!(
        finished.status, status,
        "after {:?}:\n{}{}",
        finished.took, finished.stdout, finished.stderr
    );
    assert!(
        words.iter().any(|word| text.contains(word)),
        "none of {words:?} in:\n{}",
        finished.stderr
    );
    assert!(!text.contains("panicked"), "{text}");
    assert!(!finished.stdout.contains("connected to "), "{}", finished.stdout);
}

/// Runs the client against a server by `options`, with the profile that `profile` makes.
fn against(test: &str, options: Options, profile: impl FnOnce(&Server, &Net) -> String) -> Finished {
    let net = Net::new(test);
    let server = Server::start(&net, options);
    let path = net.write("client.ovpn", &profile(&server, &net));
    finish_client(&net, &path, LIMIT)
}

fn alone(test: &str, text: &str) -> Finished {
    let net = Net::new(test);
    let path = net.write("client.ovpn", text);
    finish_client(&net, &path, LIMIT)
}

/// A profile with a certificate of its own authority, for a server that is never asked for it.
fn profile_for(remote: &str) -> String {
    let authority = Authority::new("authority");
    let identity = authority.issue("client", Purpose::Client);
    let mut text = format!("client\ndev tun\nproto udp\nremote {remote}\nnobind\n{ONCE}");
    inline(&mut text, "ca", &authority.certificate);
    inline(&mut text, "cert", &identity.certificate);
    inline(&mut text, "key", &identity.key);
    text
}

fn wrong_authority(test: &str) -> Finished {
    let other = Authority::new("another authority");
    against(test, Options::default(), |server, net| {
        let key = std::fs::read_to_string(net.dir().join("static.key")).expect("the static key");
        server.profile_with(&other.certificate, &key, ONCE)
    })
}

fn expired(test: &str) -> Finished {
    let options = Options {
        purpose: Purpose::ExpiredServer,
        ..Options::default()
    };
    against(test, options, |server, _| server.profile(ONCE))
}

fn wrong_usage(test: &str) -> Finished {
    let options = Options {
        purpose: Purpose::Client,
        ..Options::default()
    };
    against(test, options, |server, _| server.profile(ONCE))
}

fn wrong_name(test: &str) -> Finished {
    let extra = format!("{ONCE}verify-x509-name other.vpn.test name\n");
    against(test, Options::default(), |server, _| server.profile(&extra))
}

fn wrong_static_key(test: &str) -> Finished {
    against(test, Options::default(), |server, net| {
        server.profile_with(&server.authority.certificate, &static_key(net, "other.key"), ONCE)
    })
}

fn wrong_password(test: &str) -> Finished {
    let options = Options {
        login: Login::Password,
        ..Options::default()
    };
    against(test, options, |server, net| {
        let secret = net.write("secret.txt", &format!("{}\nwrong\n", USER.0));
        server.profile(&format!("{ONCE}auth-user-pass {}\n", secret.display()))
    })
}

fn unreachable(test: &str) -> Finished {
    alone(test, &profile_for("10.77.0.2 1194"))
}

fn unresolvable(test: &str) -> Finished {
    alone(test, &profile_for("no-such-host.invalid 1194"))
}

fn unreadable(test: &str) -> Finished {
    let net = Net::new(test);
    finish_client(&net, &net.dir().join("missing.ovpn"), LIMIT)
}

fn nonsense(test: &str) -> Finished {
    let mut text = profile_for("10.77.0.2 1194");
    writeln!(text, "no-such-directive 1").expect("text");
    alone(test, &text)
}

#[test]
fn a_server_of_another_authority_is_refused() {
    says(
        &wrong_authority("wrong-ca"),
        FAILED,
        &["issuer", "authority", "not signed", "not trusted"],
    );
}

#[test]
fn an_expired_certificate_is_refused() {
    says(&expired("expired"), FAILED, &["expired"]);
}

#[test]
fn a_certificate_that_is_not_for_servers_is_refused() {
    says(&wrong_usage("wrong-usage"), FAILED, &["usage", "purpose"]);
}

#[test]
fn a_server_with_another_name_is_refused() {
    let finished = wrong_name("wrong-name");
    says(&finished, FAILED, &["name"]);
    assert!(finished.stderr.contains("other.vpn.test"), "{}", finished.stderr);
}

#[test]
fn a_wrong_tls_crypt_key_is_suspected() {
    says(
        &wrong_static_key("wrong-key"),
        FAILED,
        &[
            "no answer",
            "not answer",
            "did not reply",
            "no reply",
            "timed out",
        ],
    );
}

#[test]
fn a_wrong_password_has_its_own_status() {
    let finished = wrong_password("wrong-password");
    says(&finished, REFUSED, &["password", "authentication", "credentials"]);
    assert!(
        !finished.stderr.contains("wrong\n"),
        "the password shows: {}",
        finished.stderr
    );
}

#[test]
fn an_unreachable_server_is_named() {
    let finished = unreachable("unreachable");
    says(
        &finished,
        FAILED,
        &["refused", "unreachable", "no answer", "not answer"],
    );
    assert!(finished.stderr.contains("10.77.0.2:1194"), "{}", finished.stderr);
}

#[test]
fn a_name_that_does_not_resolve_is_named() {
    let finished = unresolvable("unresolvable");
    says(&finished, FAILED, &["resolve", "name"]);
    assert!(
        finished.stderr.contains("no-such-host.invalid"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_missing_profile_is_named() {
    let finished = unreadable("unreadable");
    says(
        &finished,
        FAILED,
        &["no such file", "cannot be read", "cannot read"],
    );
    assert!(finished.stderr.contains("missing.ovpn"), "{}", finished.stderr);
}

#[test]
fn an_unknown_directive_is_named_with_its_line() {
    let finished = nonsense("nonsense");
    says(&finished, FAILED, &["no-such-directive"]);
    assert!(finished.stderr.contains("client.ovpn:"), "{}", finished.stderr);
}

#[test]
fn no_two_failures_read_the_same() {
    let cases: [fn(&str) -> Finished; 10] = [
        wrong_authority,
        expired,
        wrong_usage,
        wrong_name,
        wrong_static_key,
        wrong_password,
        unreachable,
        unresolvable,
        unreadable,
        nonsense,
    ];
    let last_line = |finished: &Finished| {
        finished
            .stderr
            .trim_end()
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned()
    };
    let messages: Vec<_> = (0..)
        .zip(cases)
        .map(|(n, case)| last_line(&case(&format!("message-{n}"))))
        .collect();
    assert!(
        messages.iter().all(|message| !message.is_empty()),
        "{messages:#?}"
    );
    assert_eq!(
        messages.iter().collect::<BTreeSet<_>>().len(),
        messages.len(),
        "{messages:#?}"
    );
}
