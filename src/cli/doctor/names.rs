//! Names and sizes: each resolver of the tunnel asked by itself, and the largest query that comes through.

use std::{
    net::SocketAddr,
    str::FromStr as _,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        Name, RecordType,
        rdata::opt::{EdnsCode, EdnsOption},
    },
};
use tokio::time::timeout;
use tunless_netstack::StackHandle;

use super::{Finding, Verdict};
use crate::driver::Up;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Shortest such wait while the largest packet is searched for.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(300);
/// Times that one question is asked.
const TRIES: usize = 3;
/// An answer that takes longer is felt.
const SLOW: Duration = Duration::from_millis(500);
/// IPv4 and UDP header of an inner packet.
const HEADERS_V4: usize = 28;
/// IPv6 and UDP header of an inner packet.
const HEADERS_V6: usize = 48;
/// Smallest query that the search for the largest begins at; DNS promises as much.
const SMALLEST: usize = 512;
/// Steps of the search: each halves what is left.
const STEPS: usize = 8;

/// Asks one resolver for a name that every zone has an answer for.
pub(super) async fn server(stack: &StackHandle, server: SocketAddr, up: &Up) -> Finding {
    let name = up.domains.first().map_or(".", String::as_str);
    match ask(stack, server, name, RecordType::SOA, (0, PATIENCE)).await {
        Ok((code, took)) => {
            let text = format!("{} answers in {} ms ({code})", server.ip(), took.as_millis());
            if matches!(code, ResponseCode::ServFail | ResponseCode::Refused) {
                let remedy =
                    "it serves this tunnel no names; name another resolver inside the VPN with --dns ADDR";
                Finding::new("names", Verdict::Bad, text, remedy)
            } else if took > SLOW {
                Finding::new(
                    "names",
                    Verdict::Doubtful,
                    text,
                    "the resolver is slow or far away",
                )
            } else {
                Finding::good("names", text)
            }
        }
        Err(why) => Finding::new(
            "names",
            Verdict::Bad,
            format!("{} {why}", server.ip()),
            "it is down or not reachable through the tunnel; name another with --dns ADDR. Nothing was asked outside",
        ),
    }
}

/// Resolves a name as the proxy does.
pub(super) async fn lookup(stack: &StackHandle, name: &str) -> Finding {
    let start = Instant::now();
    match stack.resolve(name).await {
        Ok(found) => {
            let list: Vec<String> = found.iter().map(ToString::to_string).collect();
            let took = start.elapsed().as_millis();
            Finding::good("names", format!("{name} is {} ({took} ms)", list.join(", ")))
        }
        Err(error) => Finding::new(
            "names",
            Verdict::Bad,
            format!("{name}: {error}"),
            "check the spelling and that the name belongs behind this VPN",
        ),
    }
}

/// Finds the largest inner packet that gets out, by padded queries (RFC 7830) to the first resolver.
pub(super) async fn mtu(stack: &StackHandle, up: &Up) -> Finding {
    let Some(server) = up.dns.first().copied() else {
        return Finding::new("mtu", Verdict::Untested, "needs a resolver inside the VPN", "");
    };
    let headers = if server.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
    let wanted = up.mtu_bytes.saturating_sub(headers);
    let Ok((_, usual)) = ask(stack, server, ".", RecordType::NS, (SMALLEST, PATIENCE)).await else {
        let text = format!("{} answers no padded queries", server.ip());
        return Finding::new("mtu", Verdict::Untested, text, "");
    };
    let patience = (usual * 5).clamp(SHORTEST_PATIENCE, PATIENCE);
    let passes = async |bytes: usize| {
        let answer = ask(stack, server, ".", RecordType::NS, (bytes, patience)).await;
        answer.is_ok()
    };
    if passes(wanted).await {
        return Finding::good("mtu", format!("full packets of {} bytes pass", up.mtu_bytes));
    }
    let (mut good, mut bad) = (SMALLEST, wanted);
    for _ in 0..STEPS {
        let middle = usize::midpoint(good, bad);
        if passes(middle).await {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Finding::new(
        "mtu",
        Verdict::Doubtful,
        format!(
            "packets above about {} bytes are lost, {} are allowed",
            good + headers,
            up.mtu_bytes
        ),
        "TCP adapts by itself; for other programs set `tun-mtu` or `mssfix` lower in the profile, or use proto tcp",
    )
}

/// Asks one server one question through the tunnel, `bytes` long if that is more than it takes.
async fn ask(
    stack: &StackHandle,
    server: SocketAddr,
    name: &str,
    kind: RecordType,
    (bytes, patience): (usize, Duration),
) -> Result<(ResponseCode, Duration), String> {
    let socket = stack.bind_udp().await.map_err(|error| error.to_string())?;
    let mut last = format!("does not answer within {} s", patience.as_secs());
    for _ in 0..TRIES {
        let (id, query) = query(name, kind, bytes)?;
        let start = Instant::now();
        socket.send_to(query, server).map_err(|error| error.to_string())?;
        let answer = async {
            loop {
                let (bytes, from) = socket.recv_from().await?;
                let answer = Message::from_vec(&bytes).ok();
                if let Some(answer) = answer.filter(|answer| from == server && answer.metadata.id == id) {
                    return Some(answer.metadata.response_code);
                }
            }
        };
        match timeout(patience, answer).await {
            Ok(Some(code)) => return Ok((code, start.elapsed())),
            Ok(None) => last = "cannot be asked: the tunnel is gone".into(),
            Err(_late) => {}
        }
    }
    Err(last)
}

fn query(name: &str, kind: RecordType, bytes: usize) -> Result<(u16, Vec<u8>), String> {
    let name = Name::from_str(name).map_err(|error| error.to_string())?;
    let id = crate::driver::SystemRng::default().next_u64().to_le_bytes();
    let id = u16::from_le_bytes([id[0], id[1]]);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    let plain = message.to_vec().map_err(|error| error.to_string())?;
    // An OPT record takes 11 bytes, the head of an option 4 (RFC 6891 §6.1).
    let Some(padding) = bytes.checked_sub(plain.len() + 15) else {
        return Ok((id, plain));
    };
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    edns.options_mut()
        .insert(EdnsOption::Unknown(EdnsCode::Padding.into(), vec![0; padding]));
    message.set_edns(edns);
    let padded = message.to_vec().map_err(|error| error.to_string())?;
    Ok((id, padded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_padded_to_the_byte() {
        for bytes in [512, 1000, 1472] {
            let (_, query) = query("corp.example", RecordType::SOA, bytes).unwrap();
            assert_eq!(query.len(), bytes);
            assert_eq!(Message::from_vec(&query).unwrap().queries.len(), 1);
        }
        assert!(query(".", RecordType::NS, 0).unwrap().1.len() < 20);
    }
}
