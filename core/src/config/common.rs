//! Options of both roles that are numbers and names: ciphers, timers, limits, MTU.

use std::time::Duration;

use super::{
    error::ConfigProblem,
    options::{Family, Inactive, Limits, MssFix, Proto, Renegotiation, ReplayWindow, Timers, Transport},
    raw::Directive,
    read::{BadValue, SECONDS, Scope, Values, number, some_if_positive, whole_seconds},
};
use crate::{data::Cipher, wrap::Digest};

/// Smallest inner MTU (`TUN_MTU_MIN`).
pub(super) const TUN_MTU_MIN: u16 = 100;
/// Largest inner MTU that a push may set unless told otherwise (`TUN_MTU_MAX_MIN`).
pub(super) const TUN_MTU_MAX: u16 = 1600;
/// Largest `keepalive` timeout of a server, so that twice of it stays within a day.
const KEEPALIVE_MAX: u64 = 43_200;

/// Ciphers to negotiate, and the names around them.
#[derive(Debug)]
pub(super) struct Ciphers {
    pub(super) list: Vec<Cipher>,
    pub(super) name: Option<String>,
    pub(super) fallback: Option<Cipher>,
    pub(super) auth: Digest,
}

/// Reads `data-ciphers`, `cipher`, `data-ciphers-fallback` and `auth`.
pub(super) fn ciphers(values: &mut Values<'_>) -> Ciphers {
    let mut list = data_ciphers(values);
    let name = cipher_name(values);
    let known: Option<Cipher> = name.as_deref().and_then(|name| name.parse().ok());
    if let Some(cipher) = known.filter(|cipher| !list.contains(cipher) && compat_before(values, [2, 5, 0])) {
        list.push(cipher);
    }
    if let Some(directive) = values
        .directives
        .last("cipher")
        .filter(|_| known.is_none_or(|cipher| !list.contains(&cipher)))
    {
        let offered: Vec<&str> = list.iter().map(|cipher| cipher.name()).collect();
        values.note(
            directive,
            format!(
                "is only announced; negotiated is one of {} (`data-ciphers`)",
                offered.join(", ")
            ),
        );
    }
    Ciphers {
        fallback: fallback(values),
        auth: auth(values),
        list,
        name,
    }
}

/// Reads the list; names of ciphers that are no longer safe are left out with a note.
fn data_ciphers(values: &mut Values<'_>) -> Vec<Cipher> {
    let Some(directive) = values.directives.last("data-ciphers") else {
        return Cipher::DEFAULT.to_vec();
    };
    let mut found = Vec::new();
    for name in directive
        .arg(0)
        .unwrap_or_default()
        .split(':')
        .filter(|name| !name.is_empty())
    {
        let (optional, name) = name.strip_prefix('?').map_or((false, name), |name| (true, name));
        let named: Vec<Cipher> = match name.parse() {
            Ok(cipher) => vec![cipher],
            Err(_) if name == "DEFAULT" => Cipher::DEFAULT.to_vec(),
            Err(_) if optional => Vec::new(),
            Err(_) if is_legacy_cipher(name) => {
                values.note(directive, format!("goes without {name}, which is not supported"));
                Vec::new()
            }
            Err(_) => {
                values.fail(
                    directive,
                    BadValue::new(
                        "names of ciphers with colons, `?` before one that may be missing",
                        name,
                    ),
                );
                return Cipher::DEFAULT.to_vec();
            }
        };
        found.extend(
            named
                .into_iter()
                .filter(|cipher| !found.contains(cipher))
                .collect::<Vec<_>>(),
        );
    }
    if found.is_empty() {
        let wants = "one of AES-256-GCM, AES-192-GCM, AES-128-GCM and CHACHA20-POLY1305 in the list";
        values.fail(
            directive,
            BadValue::new(wants, directive.arg(0).unwrap_or_default()),
        );
    }
    found
}

/// Tells whether the name is that of a cipher which others still speak.
fn is_legacy_cipher(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let modes = ["-CBC", "-CFB", "-CFB1", "-CFB8", "-OFB"];
    name == "NONE" || modes.iter().any(|mode| name.ends_with(mode))
}

/// Reads the name for the options string, in its canonical form.
fn cipher_name(values: &mut Values<'_>) -> Option<String> {
    let name = values.directives.last("cipher")?.arg(0)?;
    Some(if name.eq_ignore_ascii_case("none") {
        "none".to_owned()
    } else {
        name.to_ascii_uppercase()
    })
}

fn fallback(values: &mut Values<'_>) -> Option<Cipher> {
    let directive = values.directives.last("data-ciphers-fallback")?;
    let name = directive.arg(0)?;
    match name.parse() {
        Ok(cipher) => Some(cipher),
        Err(_) if is_legacy_cipher(name) => {
            values.note(directive, format!("is ignored: {name} is not supported"));
            None
        }
        Err(_) => {
            let wants = "one of AES-256-GCM, AES-192-GCM, AES-128-GCM and CHACHA20-POLY1305";
            values.fail(directive, BadValue::new(wants, name));
            None
        }
    }
}

/// Reads the digest; without one there is no tls-auth, and AEAD ciphers need none.
fn auth(values: &mut Values<'_>) -> Digest {
    let directives = values.directives;
    if let Some(none) = directives.last("auth").filter(|auth| auth.arg(0) == Some("none")) {
        if directives.has("tls-auth") {
            let remedy = "name the digest that the other side uses, or SHA1";
            values.fail(
                none,
                ConfigProblem::Conflict {
                    with: "tls-auth",
                    remedy,
                },
            );
        }
        values.note(
            none,
            "has no effect: the ciphers that are spoken authenticate by themselves",
        );
        return Digest::default();
    }
    let wants = "MD5, SHA1, SHA224, SHA256, SHA384 or SHA512";
    values
        .value("auth", wants, |text| text.parse().ok())
        .unwrap_or_default()
}

/// Tells whether `compat-mode` asks for the ways of a version before this one.
pub(super) fn compat_before(values: &mut Values<'_>, version: [u32; 3]) -> bool {
    let read = |text: &str| {
        let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        <[u32; 3]>::try_from(parts?).ok()
    };
    let asked = values.value("compat-mode", "a version as 2.4.0", read);
    asked.is_some_and(|asked| asked != [0; 3] && asked < version)
}

/// Reads `hand-window`, `tls-timeout` and `tran-window`.
pub(super) fn limits(values: &mut Values<'_>) -> Limits {
    let positive = |text: &str| whole_seconds(text).and_then(some_if_positive);
    let mut read = |name, default| {
        values
            .value(name, "whole seconds above 0", positive)
            .unwrap_or_else(|| Duration::from_secs(default))
    };
    Limits {
        handshake_window: read("hand-window", 60),
        tls_timeout: read("tls-timeout", 2),
        transition_window: read("tran-window", 3600),
    }
}

/// Reads `reneg-sec`, `reneg-bytes` and `reneg-pkts`. A server draws from the last tenth unless told otherwise.
pub(super) fn renegotiation(values: &mut Values<'_>, server: bool) -> Renegotiation {
    let latest = values.seconds("reneg-sec", 3600);
    let directive = values.directives.last("reneg-sec");
    let earliest = directive.and_then(|directive| {
        let least = values.arg(directive, 1, SECONDS, whole_seconds)?;
        if least > latest {
            values.fail(
                directive,
                BadValue::new("the greater number first", &directive.args.join(" ")),
            );
        }
        Some(least)
    });
    let earliest = earliest.unwrap_or_else(|| if server { latest.mul_f64(0.9) } else { latest });
    let bytes = values.value("reneg-bytes", "a number of bytes, or -1", |text| match text {
        "-1" => Some(0),
        _ => number(0, u64::MAX)(text),
    });
    let packets = values.value("reneg-pkts", "a number of packets", number(0, u64::MAX));
    Renegotiation {
        after: some_if_positive(latest).map(|latest| (earliest, latest)),
        bytes: bytes.filter(|bytes| *bytes > 0),
        packets: packets.filter(|packets| *packets > 0),
    }
}

/// Reads `replay-window`.
pub(super) fn replay_window(values: &mut Values<'_>) -> ReplayWindow {
    let packets = values.value(
        "replay-window",
        "a number of packets, 1 to 65536",
        number(1, 65_536),
    );
    let directive = values.directives.last("replay-window");
    let time =
        directive.and_then(|directive| values.arg(directive, 1, "whole seconds, 0 to 600", number(0, 600)));
    ReplayWindow {
        packets: packets.unwrap_or(64),
        time: Duration::from_secs(time.unwrap_or(15)),
    }
}

/// Reads the timers in the order in which they stand: of `ping-restart` and `ping-exit` the last counts.
pub(super) fn timers(values: &mut Values<'_>, server: bool) -> Timers {
    let mut timers = Timers::default();
    let directives = values.directives;
    for directive in directives.global() {
        let read = match directive.spec.name {
            "keepalive" => keepalive(&mut timers, &directive.args, server),
            name => apply_timer(&mut timers, name, &directive.args).unwrap_or(Ok(())),
        };
        if let Err(bad) = read {
            values.fail(directive, bad);
        }
    }
    timers
}

/// Expands `keepalive n m`: a server waits twice as long as its clients.
fn keepalive(timers: &mut Timers, args: &[String], server: bool) -> Result<(), BadValue> {
    let (interval, timeout) = keepalive_values(args)?;
    timers.ping = Some(interval);
    timers.ping_restart = Some(if server { timeout * 2 } else { timeout });
    timers.ping_exit = None;
    Ok(())
}

/// Reads the two numbers of `keepalive`.
pub(super) fn keepalive_values(args: &[String]) -> Result<(Duration, Duration), BadValue> {
    let wants =
        "ping interval and timeout in seconds, the timeout at least twice the interval and at most 43200";
    let mut numbers = args
        .iter()
        .map(|text| number(1, KEEPALIVE_MAX)(text).map(Duration::from_secs));
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(interval), Some(timeout)) if timeout >= interval * 2 => Ok((interval, timeout)),
        _ => Err(BadValue::new(wants, &args.join(" "))),
    }
}

/// Applies a timer option from file or push; `None` if the option is no timer.
pub(super) fn apply_timer(timers: &mut Timers, name: &str, args: &[String]) -> Option<Result<(), BadValue>> {
    let read = |index: usize| {
        let text = args.get(index).map(String::as_str).unwrap_or_default();
        whole_seconds(text).ok_or_else(|| BadValue::new(SECONDS, text))
    };
    let set = |result: Result<Duration, BadValue>, store: &mut dyn FnMut(Option<Duration>)| {
        result.map(|time| store(some_if_positive(time)))
    };
    Some(match name {
        "ping" => set(read(0), &mut |time| timers.ping = time),
        "ping-restart" => set(read(0), &mut |time| {
            timers.ping_restart = time;
            timers.ping_exit = None;
        }),
        "ping-exit" => set(read(0), &mut |time| {
            timers.ping_exit = time;
            timers.ping_restart = None;
        }),
        "session-timeout" => set(read(0), &mut |time| timers.session_timeout = time),
        "inactive" => inactive(args).map(|inactive| timers.inactive = inactive),
        _ => return None,
    })
}

fn inactive(args: &[String]) -> Result<Option<Inactive>, BadValue> {
    let text = |index: usize| args.get(index).map(String::as_str);
    let seconds = text(0).unwrap_or_default();
    let after = whole_seconds(seconds).ok_or_else(|| BadValue::new(SECONDS, seconds))?;
    let bytes = match text(1) {
        None => 0,
        Some(bytes) => number(0, u64::MAX)(bytes).ok_or_else(|| BadValue::new("a number of bytes", bytes))?,
    };
    Ok(some_if_positive(after).map(|after| Inactive { after, bytes }))
}

/// Reads a port.
pub(super) fn port(text: &str) -> Option<u16> {
    number(1, u16::MAX)(text)
}

/// Reads `proto` and the third parameter of `remote`; `None` for the other role's as well.
pub(super) fn proto(text: &str, server: bool) -> Option<Proto> {
    let (transport, rest) = match text {
        _ if text.starts_with("udp") => (Transport::Udp, text.strip_prefix("udp")?),
        _ => (Transport::Tcp, text.strip_prefix("tcp")?),
    };
    let own = if server { "-server" } else { "-client" };
    let rest = match transport {
        Transport::Tcp => rest.strip_suffix(own).unwrap_or(rest),
        Transport::Udp => rest,
    };
    let family = match rest {
        "" => Family::Any,
        "4" => Family::V4,
        "6" => Family::V6,
        _ => return None,
    };
    Some(Proto { transport, family })
}

/// Sizes of inner and control packets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) tun_mtu: u16,
    pub(super) tun_mtu_explicit: bool,
    pub(super) mssfix: MssFix,
    pub(super) max_packet_size: u16,
}

/// Reads `tun-mtu`, `mssfix` and `max-packet-size`, which depend on each other.
pub(super) fn sizes(values: &mut Values<'_>, scope: Scope<'_>) -> Sizes {
    let directive = scope.last("tun-mtu");
    let wants = "an MTU, 100 to 65535";
    let written =
        directive.and_then(|directive| values.arg(directive, 0, wants, number(TUN_MTU_MIN, u16::MAX)));
    let tun_mtu = written.unwrap_or(1500);
    let control = scope
        .last("max-packet-size")
        .and_then(|directive| values.arg(directive, 0, "a number of bytes, 154 to 2048", number(154, 2048)));
    let implied = match (control, tun_mtu) {
        (Some(size), _) => MssFix::OuterPacket(size),
        (None, 1500) => MssFix::OuterPacket(1492),
        (None, mtu) => MssFix::InnerPacket(mtu),
    };
    let mssfix = scope
        .last("mssfix")
        .filter(|directive| !directive.args.is_empty());
    Sizes {
        tun_mtu,
        tun_mtu_explicit: written.is_some(),
        mssfix: mssfix
            .and_then(|directive| mss_fix(values, directive))
            .unwrap_or(implied),
        max_packet_size: control.unwrap_or(1250),
    }
}

fn mss_fix(values: &mut Values<'_>, directive: &Directive) -> Option<MssFix> {
    let size: u16 = values.arg(directive, 0, "a number of bytes, or 0", number(0, u16::MAX))?;
    match (size, directive.arg(1)) {
        (0, _) => Some(MssFix::Off),
        (size, None) => Some(MssFix::OuterPayload(size)),
        (size, Some("mtu")) => Some(MssFix::OuterPacket(size)),
        (size, Some("fixed")) => Some(MssFix::InnerPacket(size)),
        (_, Some(word)) => {
            values.fail(
                directive,
                BadValue::new("`mtu` or `fixed` behind the number", word),
            );
            None
        }
    }
}

/// Reads how often the end is announced.
pub(super) fn exit_notify(values: &mut Values<'_>, directive: Option<&Directive>) -> Option<u32> {
    let directive = directive?;
    match directive.arg(0) {
        None => Some(1),
        Some(_) => values
            .arg(directive, 0, "a number", number(0, 1000))
            .filter(|count| *count > 0),
    }
}

/// Reads the log level; the default is 1.
pub(super) fn verbosity(values: &mut Values<'_>) -> u8 {
    values
        .value("verb", "a level, 0 to 15", number(0, 15))
        .unwrap_or(1)
}

/// Refuses what cannot be carried: TAP, and framings other than the escape of `stub-v2`.
pub(super) fn payload(values: &mut Values<'_>) -> bool {
    let directives = values.directives;
    let tap = ConfigProblem::Refused("TAP devices are not supported yet; both sides need `dev tun`");
    for directive in directives.all("dev-type").chain(directives.all("dev")) {
        if directive.arg(0).is_some_and(|name| name.starts_with("tap")) {
            values.fail(directive, tap.clone());
        } else if directive.arg(0) == Some("null") {
            values.fail(directive, BadValue::new("tun", "null"));
        }
    }
    let allowed = values.value("allow-compression", "no, asym or yes", |text| {
        ["no", "asym", "yes"].contains(&text).then_some(text != "no")
    });
    if let (Some(true), Some(directive)) = (allowed, directives.last("allow-compression")) {
        values.note(directive, "has no effect: nothing is compressed");
    }
    let Some(compress) = directives.last("compress") else {
        return false;
    };
    match compress.arg(0) {
        Some("stub-v2") => return true,
        Some("migrate") => values.note(compress, "has no effect: clients that are set to `comp-lzo` cannot send data"),
        _ => values.fail(compress, ConfigProblem::Refused("compression and its framing are not spoken, `stub-v2` apart; remove it here and at the other side")),
    }
    false
}
