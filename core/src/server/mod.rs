//! The server's side: who may come in, what they are given, and where inner packets go.
//!
//! [`Endpoint`] takes the datagrams of all clients. Files: `admit` the stateless answer and its limits, `peer`
//! one client from its first packet to its last, `endpoint` the table of them, `control` what their sessions
//! report, `decide` the verdict on a client, `forward` inner packets, `plan` the options that are pushed, `pool`
//! address leases, `event` what is reported.

mod admit;
mod control;
mod decide;
mod endpoint;
mod event;
mod forward;
mod peer;
mod plan;
mod pool;

#[cfg(test)]
mod tests;

pub use endpoint::{Endpoint, EndpointError};
pub use event::{
    AdmissionRequest, ClientId, DenyReason, Established, Event, GoneReason, KeyNumber, PeerStats, Verdict,
};
pub use pool::Lease;

/// A judge of first packets with a fixed key, for the fuzz targets.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn fuzz_admitter() -> impl FnMut(std::net::SocketAddr, &mut [u8]) {
    use std::time::{Duration, Instant};

    use crate::{config::Rate, testing::SeededRng, wrap::WrapKey};

    #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
    let now = Instant::now();
    let rate = Rate {
        count: 100,
        per: Duration::from_secs(10),
    };
    let window = Duration::from_mins(1);
    let mut admitter = admit::Admitter::new(now, &mut SeededRng::new(1), WrapKey::None, window, rate, None);
    move |from, packet| {
        let _verdict = admitter.judge(now, 0, from, packet);
    }
}
