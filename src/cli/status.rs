//! `tunless status`: every running tunnel of this user, a block each.

use anyhow::anyhow;
use serde_json::Value;

use super::{args::Status as Args, ctl, output::Output, units};
use crate::{
    cli::exit::{Failure, Status},
    control::{Client, Request, find},
    driver::chain,
};

/// Shows all tunnels, or the one that is named; `Failed` when there is none.
pub(super) fn run(args: &Args, output: Output) -> Result<Status, Failure> {
    let name = args.name.as_deref().or(args.device.as_deref());
    let tunnels = match name {
        Some(name) => vec![ctl::choose(Some(name))?],
        None => find(),
    };
    let mut shown = 0;
    for tunnel in &tunnels {
        let asked = Client::connect(&tunnel.path).and_then(|mut client| client.ask(&Request::Status));
        match asked {
            Ok(lines) => {
                for line in &lines {
                    if shown > 0 && !output.is_json() {
                        output.print("");
                    }
                    show(line, output);
                    shown += 1;
                }
            }
            // One that ends at this moment is no reason not to show the others.
            Err(error) => tracing::warn!(
                device = tunnel.device,
                error = chain(&error),
                "a tunnel does not answer"
            ),
        }
    }
    if shown > 0 {
        return Ok(Status::Done);
    }
    Err(anyhow!(ctl::NOTHING).into())
}

fn show(status: &Value, output: Output) {
    if output.is_json() {
        output.object(status);
    } else {
        output.print(&block(status));
    }
}

/// What a person wants to know of one tunnel.
fn block(status: &Value) -> String {
    let server = &status["server"];
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| {
        if !value.is_empty() {
            rows.push(vec![format!("  {name}"), value]);
        }
    };
    if server.is_object() {
        let (host, address, carrier) = (
            text(server, "host"),
            text(server, "address"),
            text(server, "carrier"),
        );
        let through = server["through"]
            .as_str()
            .map(|proxy| format!(" through the {proxy}"));
        let through = through.unwrap_or_default();
        row("server", format!("{host}{through} ({address}/{carrier})"));
        row("inner address", list(server, "inner"));
        row("DNS", list(server, "dns"));
        row(
            "cipher",
            format!("{}, {}", text(server, "cipher"), text(server, "tls")),
        );
    }
    row(
        "device",
        format!("{} ({})", text(status, "device"), text(status, "device_kind")),
    );
    row("proxy", list(status, "proxies"));
    let (received, sent) = (number(status, "received_bytes"), number(status, "sent_bytes"));
    row(
        "traffic",
        format!("{} received, {} sent", units::bytes(received), units::bytes(sent)),
    );
    row("connections", number(status, "connections").to_string());
    let attempts = match number(status, "attempts") {
        1 => "1 attempt".to_owned(),
        attempts => format!("{attempts} attempts"),
    };
    row(
        "running for",
        format!(
            "{}, {attempts}",
            units::duration(number(status, "uptime_seconds"))
        ),
    );
    if let Some(retry) = status["retry"].as_object() {
        let field = |name: &str| retry.get(name).and_then(Value::as_str).unwrap_or_default();
        row(
            "next attempt",
            format!("{}, since {}", field("next"), field("reason")),
        );
    }
    if status["questions"]
        .as_array()
        .is_some_and(|questions| !questions.is_empty())
    {
        row(
            "waits for",
            "user name and password; give them with `tunless ctl answer`".into(),
        );
    }
    format!(
        "{}: {}\n{}",
        text(status, "device"),
        ctl::state_line(status),
        units::table(&rows, &[])
    )
}

fn list(object: &Value, field: &str) -> String {
    let items = object[field].as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

fn number(object: &Value, field: &str) -> u64 {
    object[field].as_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_block_says_what_a_person_wants_to_know() {
        let status = json!({
            "device": "netstack0", "device_kind": "netstack", "state": "CONNECTED", "state_seconds": 3723,
            "server": { "host": "vpn.test", "address": "192.0.2.1:1194", "carrier": "udp", "inner": ["10.8.0.2/24"],
                "dns": ["10.8.0.1:53"], "cipher": "AES-256-GCM", "tls": "TLSv1.3" },
            "proxies": ["127.0.0.1:1080"], "received_bytes": 12_300_000, "sent_bytes": 512, "connections": 14,
            "attempts": 1, "uptime_seconds": 3730, "questions": [], "retry": null,
        });
        assert_eq!(
            block(&status),
            "netstack0: connected for 1:02:03\n\
             \x20 server         vpn.test (192.0.2.1:1194/udp)\n\
             \x20 inner address  10.8.0.2/24\n\
             \x20 DNS            10.8.0.1:53\n\
             \x20 cipher         AES-256-GCM, TLSv1.3\n\
             \x20 device         netstack0 (netstack)\n\
             \x20 proxy          127.0.0.1:1080\n\
             \x20 traffic        12.3 MB received, 512 B sent\n\
             \x20 connections    14\n\
             \x20 running for    1:02:10, 1 attempt"
        );
        let nothing_known = block(&json!({ "device": "netstack0", "questions": [{}] }));
        assert!(nothing_known.contains("ctl answer"), "{nothing_known}");
    }
}
