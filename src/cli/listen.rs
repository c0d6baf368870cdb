//! Where the proxy listens: the address that was asked for, or the next free port from 1080.

use std::{io, net::SocketAddr, path::Path};

use anyhow::{Context as _, anyhow};
use tokio::net::TcpListener;
use tunless_proxy::Credentials;

use super::profile;
use crate::cli::exit::Failure;

/// Default port, the one registered for SOCKS.
const DEFAULT_PORT: u16 = 1080;
/// Ports that are tried from there.
const PORTS: u16 = 100;

/// What a listener is asked for.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) address: Option<SocketAddr>,
    pub(super) insecure: bool,
    pub(super) credentials: Option<&'a Credentials>,
}

/// Opens the listener. Needs a tokio runtime.
pub(super) async fn open(wanted: &Wanted<'_>) -> Result<TcpListener, Failure> {
    if let Some(address) = wanted.address {
        check_exposure(address, wanted)?;
        let listener = TcpListener::bind(address).await;
        return Ok(listener.with_context(|| {
            format!("cannot listen on {address}; choose another address or port with `-D [ADDR:]PORT`")
        })?);
    }
    for port in DEFAULT_PORT..DEFAULT_PORT + PORTS {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(anyhow!(error).context("cannot listen on 127.0.0.1").into()),
        }
    }
    let last = DEFAULT_PORT + PORTS - 1;
    Err(anyhow!("127.0.0.1 has no free port from {DEFAULT_PORT} to {last}; choose one with `-D PORT`").into())
}

fn check_exposure(address: SocketAddr, wanted: &Wanted<'_>) -> Result<(), Failure> {
    if address.ip().to_canonical().is_loopback() || wanted.insecure || wanted.credentials.is_some() {
        return Ok(());
    }
    Err(Failure::usage(anyhow!(
        "{address} would let everybody who can reach it use the tunnel; give `--proxy-auth FILE` for a password, \
         or `--insecure-listen` if that is meant"
    )))
}

/// Reads the proxy's own user name and password.
pub(super) fn credentials(file: Option<&Path>) -> anyhow::Result<Option<Credentials>> {
    let Some(file) = file else { return Ok(None) };
    let (user, password) = profile::two_lines(file)?;
    let known = Credentials::new(&user, &password).with_context(|| file.display().to_string())?;
    Ok(Some(known))
}

/// The first line printed: where the proxy is, and that the default port was taken if it was.
pub(super) fn first_line(wanted: &Wanted<'_>, got: SocketAddr) -> String {
    if wanted.address.is_none() && got.port() != DEFAULT_PORT {
        format!("listening on {got}, since port {DEFAULT_PORT} is taken")
    } else {
        format!("listening on {got}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Status;

    fn wanted(address: Option<&str>) -> Wanted<'static> {
        Wanted {
            address: address.map(|text| text.parse().unwrap()),
            insecure: false,
            credentials: None,
        }
    }

    #[tokio::test]
    async fn a_taken_default_port_moves_to_the_next_free_one() {
        let first = open(&wanted(None)).await.unwrap();
        let second = open(&wanted(None)).await.unwrap();
        let (first, second) = (first.local_addr().unwrap(), second.local_addr().unwrap());
        assert!(first.ip().is_loopback() && first.port() < second.port());
        assert!(first_line(&wanted(None), second).contains(&second.to_string()));
    }

    #[tokio::test]
    async fn a_listener_for_others_needs_a_password_or_a_word() {
        let open_to_all = wanted(Some("0.0.0.0:0"));
        let refused = open(&open_to_all).await.unwrap_err();
        assert_eq!(refused.status, Status::Usage);
        assert!(
            open(&Wanted {
                insecure: true,
                ..wanted(Some("0.0.0.0:0"))
            })
            .await
            .is_ok()
        );
        let known = Credentials::new("ann", "secret").unwrap();
        assert!(
            open(&Wanted {
                credentials: Some(&known),
                ..wanted(Some("0.0.0.0:0"))
            })
            .await
            .is_ok()
        );
        assert!(open(&wanted(Some("[::1]:0"))).await.is_ok());
    }
}
