//! Counters in the text form of `OpenMetrics` 1.0, for Prometheus and its kin.

use std::fmt::{Display, Write as _};

use tunless_core::client::State as Progress;
use tunless_netstack::StackStats;
use tunless_proxy::ConnectionKind;

use super::{Sources, watch::Watch};
use crate::driver::{State, clock};

/// Media type of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every state, for the set that tells which one holds.
const STATES: [State; 12] = [
    State::Connecting,
    State::Paused,
    State::Resolve,
    State::TcpConnect,
    State::Session(Progress::Wait),
    State::Session(Progress::Auth),
    State::Session(Progress::AuthPending),
    State::Session(Progress::GetConfig),
    State::AssignIp,
    State::Connected,
    State::Reconnecting,
    State::Exiting,
];

const KINDS: [ConnectionKind; 6] = [
    ConnectionKind::Socks4,
    ConnectionKind::Socks5,
    ConnectionKind::Socks5Udp,
    ConnectionKind::HttpConnect,
    ConnectionKind::Http,
    ConnectionKind::Forward,
];

/// All metrics at this moment.
pub(super) fn text(sources: &Sources, watch: &Watch) -> String {
    let mut out = Exposition::default();
    process(&mut out, watch);
    tunnel(&mut out, sources, watch);
    carried(&mut out, sources);
    proxy(&mut out, sources);
    out.finish()
}

fn process(out: &mut Exposition, watch: &Watch) {
    out.family("tunless_build", "info", "", "Which build runs.");
    out.sample("_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let uptime = clock::now().saturating_duration_since(watch.memory().started);
    out.family(
        "tunless_uptime_seconds",
        "gauge",
        "seconds",
        "Time since the start.",
    );
    out.sample("", &[], uptime.as_secs_f64());
    if let Some(bytes) = resident_bytes() {
        out.family(
            "process_resident_memory_bytes",
            "gauge",
            "bytes",
            "Memory in use.",
        );
        out.sample("", &[], bytes);
    }
}

/// Resident memory by the kernel's count (`proc(5)`, `VmRSS`).
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn tunnel(out: &mut Exposition, sources: &Sources, watch: &Watch) {
    let (snapshot, memory) = (sources.handle.snapshot(), watch.memory());
    let is_up = snapshot.state == Some(State::Connected);
    out.family("tunless_up", "gauge", "", "Whether packets go through.");
    out.sample("", &[], u8::from(is_up));
    out.family("tunless_state", "stateset", "", "What the tunnel is doing.");
    for state in STATES {
        let name = state.to_string();
        out.sample(
            "",
            &[("tunless_state", &name)],
            u8::from(snapshot.state == Some(state)),
        );
    }
    for (name, help, count) in [
        ("attempts", "Attempts to connect.", snapshot.attempts),
        (
            "connects",
            "Times that packets began to go through.",
            memory.connects,
        ),
        ("key_renewals", "Times that keys were renewed.", memory.renewals),
        (
            "keys_derived",
            "Data keys derived by the current connection.",
            snapshot.session.session.keys_derived,
        ),
    ] {
        out.counter(&format!("tunless_{name}"), help, count);
    }
}

fn carried(out: &mut Exposition, sources: &Sources) {
    let snapshot = sources.handle.snapshot();
    let (device, outer, session) = (snapshot.device, snapshot.transport, snapshot.session);
    let (up, down) = ([("direction", "up")], [("direction", "down")]);
    for (name, unit, help, sent, received) in [
        (
            "device_bytes",
            "bytes",
            "Inner bytes.",
            device.bytes_out,
            device.bytes_in,
        ),
        (
            "device_packets",
            "packets",
            "Inner packets.",
            device.packets_out,
            device.packets_in,
        ),
        (
            "transport_bytes",
            "bytes",
            "Outer bytes of the current attempt.",
            outer.sent_bytes,
            outer.received_bytes,
        ),
        (
            "transport_packets",
            "packets",
            "Outer packets of the current attempt.",
            outer.sent,
            outer.received,
        ),
    ] {
        out.family(&format!("tunless_{name}"), "counter", unit, help);
        out.sample("_total", &up, sent);
        out.sample("_total", &down, received);
    }
    out.family(
        "tunless_drops",
        "counter",
        "",
        "Packets that were dropped, by reason.",
    );
    for (reason, count) in [
        ("device_invalid_or_limit", device.dropped_in),
        ("device_no_room", device.dropped_out),
        ("session_not_ready", session.dropped_packets),
        ("control_invalid", session.session.control_dropped),
        ("data_unauthentic_or_replayed", session.session.data_dropped),
        ("transport_send_error", outer.send_errors),
    ] {
        out.sample("_total", &[("reason", reason)], count);
    }
    flows(out, device);
}

fn flows(out: &mut Exposition, device: StackStats) {
    out.family("tunless_flows", "gauge", "", "Connections inside the tunnel.");
    out.sample("", &[], device.flows_open);
    out.family(
        "tunless_flow_buffer_bytes",
        "gauge",
        "bytes",
        "Buffers of these connections.",
    );
    out.sample("", &[], device.buffer_bytes);
    for (name, help, count) in [
        (
            "opened",
            "Connections opened inside the tunnel.",
            device.flows_opened,
        ),
        (
            "failed",
            "Connections that could not be opened inside the tunnel.",
            device.flows_failed,
        ),
        (
            "faulted",
            "Connections that were reset by a fault of the stack.",
            device.flows_faulted,
        ),
    ] {
        out.counter(&format!("tunless_flows_{name}"), help, count);
    }
}

fn proxy(out: &mut Exposition, sources: &Sources) {
    let open = sources.connections.list();
    out.family(
        "tunless_proxy_connections",
        "gauge",
        "",
        "Local connections, by how they came in.",
    );
    for kind in KINDS {
        let count = open.iter().filter(|one| one.kind == kind).count();
        out.sample("", &[("kind", &kind.to_string())], count);
    }
    for (name, count) in sources.stats.snapshot().entries() {
        let help = format!("The listeners' count `{name}`.");
        if name == "active" {
            out.family("tunless_proxy_active", "gauge", "", &help);
            out.sample("", &[], count);
        } else {
            out.counter(&format!("tunless_proxy_{name}"), &help, count);
        }
    }
}

/// The text under construction; samples belong to the family that was named last. Names, helps and labels are ours and
/// need no escapes.
#[derive(Debug, Default)]
struct Exposition {
    text: String,
    family: String,
}

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        name.clone_into(&mut self.family);
        self.line(format_args!("# TYPE {name} {kind}"));
        if !unit.is_empty() {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
        self.line(format_args!("# HELP {name} {help}"));
    }

    fn counter(&mut self, name: &str, help: &str, count: u64) {
        self.family(name, "counter", "", help);
        self.sample("_total", &[], count);
    }

    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let pairs: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let labels = if pairs.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", pairs.join(","))
        };
        let family = self.family.clone();
        self.line(format_args!("{family}{suffix}{labels} {value}"));
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a string cannot fail.
        writeln!(self.text, "{line}").unwrap_or_default();
    }

    fn finish(mut self) -> String {
        self.line("# EOF");
        self.text
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    /// Holds a text to the rules of the format that scrapers insist on.
    pub(in crate::site) fn check(text: &str) {
        assert!(
            text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1,
            "{text}"
        );
        let (mut families, mut samples) = (BTreeSet::new(), BTreeSet::new());
        let (mut name, mut kind) = (String::new(), String::new());
        for line in text.lines().take_while(|line| *line != "# EOF") {
            if let Some(rest) = line.strip_prefix("# ") {
                let mut words = rest.splitn(3, ' ');
                let [word, of, what] = [(); 3].map(|()| words.next().unwrap_or_default().to_owned());
                match word.as_str() {
                    "TYPE" => {
                        assert!(families.insert(of.clone()), "{of} twice");
                        (name, kind) = (of, what);
                    }
                    "UNIT" => assert!(of == name && of.ends_with(&format!("_{what}")), "{line}"),
                    "HELP" => assert!(of == name && !what.is_empty(), "{line}"),
                    _ => panic!("{line}"),
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').expect(line);
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(samples.insert(series.to_owned()), "{series} twice");
            let suffix = match kind.as_str() {
                "counter" => "_total",
                "info" => "_info",
                "gauge" | "stateset" => "",
                other => panic!("{other}"),
            };
            let sampled = series.split('{').next().unwrap();
            assert_eq!(sampled, format!("{name}{suffix}"), "{line}");
            if let Some(labels) = series.strip_prefix(sampled).filter(|labels| !labels.is_empty()) {
                assert!(labels.starts_with('{') && labels.ends_with("\"}"), "{line}");
            }
            assert!(
                kind != "stateset" || series.contains(&format!("{{{name}=")),
                "{line}"
            );
        }
        assert!(samples.len() > 30, "{text}");
    }

    #[test]
    fn resident_memory_is_more_than_a_megabyte() {
        assert!(super::resident_bytes().unwrap() > 1 << 20);
    }
}
