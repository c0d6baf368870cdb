//! One connection for one socket that is there already: the program's own standard input and output, for instance.

use std::os::unix::net::UnixStream;

use tokio::time::timeout;

use crate::connect::{ConnectError, Connector, Flow as _, LocalSocket, RelayEnd, RelayReason, Target};
use crate::connections::ConnectionKind;
use crate::serve::Settings;

/// Opens a connection to `target` and carries the bytes of `local`, which is in non-blocking mode, until both
/// directions have ended. It is listed as coming from `client`. Dropping the future cuts it off.
///
/// # Errors
/// The connection cannot be opened.
pub async fn single<C: Connector>(
    local: UnixStream,
    client: &str,
    target: Target,
    connector: &C,
    settings: &Settings,
) -> Result<RelayEnd, ConnectError> {
    let stats = &settings.stats;
    stats.forwards.one();
    let name = target.to_string();
    let tracked = settings
        .connections
        .add(ConnectionKind::Forward, client.to_owned(), name);
    let closed_by_hand = RelayEnd {
        up_bytes: 0,
        down_bytes: 0,
        reason: RelayReason::LocalReset,
    };
    let attempt = timeout(connector.connect_timeout(), connector.connect(target));
    let opened = tokio::select! {
        () = tracked.closed() => return Ok(closed_by_hand),
        opened = attempt => opened.unwrap_or(Err(ConnectError::TimedOut)),
    };
    let flow = opened.inspect_err(|_| stats.failed.one())?;
    stats.opened.one();
    tracked.on_open(flow.meter());
    let end = tokio::select! {
        () = tracked.closed() => closed_by_hand,
        end = flow.relay(LocalSocket::Unix(local), Vec::new()) => end,
    };
    stats.up_bytes.add(end.up_bytes);
    stats.down_bytes.add(end.down_bytes);
    Ok(end)
}
