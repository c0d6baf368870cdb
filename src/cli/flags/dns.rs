//! `--dns-listen`: where local programs can ask for names inside the tunnel.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use anyhow::anyhow;
use clap::Args;
use tokio::net::{TcpListener, UdpSocket};

use crate::cli::exit::Failure;

/// The port of DNS.
const DNS_PORT: u16 = 53;
/// Ports that are tried to find one that is free for both protocols.
const PORT_TRIES: usize = 16;

/// Flags of the name service.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = crate::cli::args::PROXY)]
pub struct DnsFlags {
    /// Where local programs can ask for names inside the tunnel, by UDP and TCP; port 53 if not given; may be repeated
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = service_address, value_delimiter = ',', env = "TUNLESS_DNS_LISTEN")]
    pub dns_listen: Vec<SocketAddr>,
}

impl DnsFlags {
    /// Opens both sockets of each address. Needs a tokio runtime.
    pub(in crate::cli) async fn open(
        &self,
        insecure_listen: bool,
    ) -> Result<Vec<(UdpSocket, TcpListener)>, Failure> {
        let mut opened = Vec::new();
        for address in &self.dns_listen {
            if !address.ip().to_canonical().is_loopback() && !insecure_listen {
                return Err(Failure::usage(anyhow!(
                    "--dns-listen {address} would let everybody who can reach it ask through the tunnel, and DNS has \
                     no password; give `--insecure-listen` if that is meant"
                )));
            }
            opened.push(
                open_both(*address)
                    .await
                    .map_err(|error| refusal(*address, &error))?,
            );
        }
        Ok(opened)
    }
}

/// Opens UDP and TCP on the same port.
async fn open_both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    for _ in 1..PORT_TRIES {
        let tcp = TcpListener::bind(address).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            // Free for TCP only: any other port will do.
            Err(error) if address.port() == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

fn refusal(address: SocketAddr, error: &io::Error) -> anyhow::Error {
    let (ip, port) = (address.ip(), address.port());
    let other = SocketAddr::new(ip, 5353);
    if error.kind() == io::ErrorKind::PermissionDenied {
        anyhow!(
            "--dns-listen {address}: port {port} needs a privilege that this program does not have; give another, as in \
             `--dns-listen {other}`, or have root allow it: sysctl net.ipv4.ip_unprivileged_port_start={port}"
        )
    } else if error.kind() == io::ErrorKind::AddrInUse {
        anyhow!(
            "--dns-listen {address}: another program serves there already; give another address or port, as in \
             `--dns-listen {other}`"
        )
    } else {
        anyhow!("--dns-listen {address}: cannot listen there: {error}")
    }
}

fn service_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let ip: IpAddr = bare
        .parse()
        .map_err(|_| format!("{text:?} is not an IP address with or without a port"))?;
    Ok(SocketAddr::new(ip, DNS_PORT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Status;

    fn flags(address: &str) -> DnsFlags {
        DnsFlags {
            dns_listen: vec![service_address(address).unwrap()],
        }
    }

    #[test]
    fn the_port_is_53_unless_said_otherwise() {
        for (text, wanted) in [
            ("127.0.0.1", "127.0.0.1:53"),
            ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("::1", "[::1]:53"),
            ("[::1]:54", "[::1]:54"),
        ] {
            assert_eq!(service_address(text), Ok(wanted.parse().unwrap()), "{text}");
        }
        assert!(service_address("localhost").is_err() && service_address("5353").is_err());
    }

    #[tokio::test]
    async fn both_sockets_have_the_same_port_and_a_taken_one_is_told() {
        let opened = flags("127.0.0.1:0").open(false).await.unwrap();
        let (udp, tcp) = &opened[0];
        assert_eq!(udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let taken = tcp.local_addr().unwrap().to_string();
        let refused = flags(&taken).open(false).await.unwrap_err();
        assert!(
            refused.error.to_string().contains("another program"),
            "{}",
            refused.error
        );
    }

    #[tokio::test]
    async fn a_service_for_others_needs_a_word() {
        let refused = flags("0.0.0.0:0").open(false).await.unwrap_err();
        assert_eq!(refused.status, Status::Usage);
        assert!(flags("0.0.0.0:0").open(true).await.is_ok());
    }

    #[test]
    fn a_privileged_port_comes_with_a_remedy() {
        let text = refusal(
            service_address("127.0.0.1").unwrap(),
            &io::ErrorKind::PermissionDenied.into(),
        )
        .to_string();
        assert!(text.contains("--dns-listen 127.0.0.1:5353"), "{text}");
        assert!(text.contains("ip_unprivileged_port_start=53"), "{text}");
    }
}
