//! A page fetched through a proxy, as `curl` would: SOCKS5 or HTTP CONNECT, then one request.

use std::{fmt, net::SocketAddr};

use anyhow::{anyhow, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Longest answer that is read.
const ANSWER_BYTES: u64 = 1 << 20;
/// Longest head of a proxy's answer.
const HEAD_BYTES: usize = 4096;

/// How the proxy is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// SOCKS5 with a name (RFC 1928), as `curl --proxy socks5h://`.
    Socks5,
    /// HTTP CONNECT, as `curl --proxytunnel --proxy http://`.
    HttpConnect,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socks5 => "SOCKS5",
            Self::HttpConnect => "HTTP CONNECT",
        })
    }
}

/// Fetches `/` of `host` and gives back the body.
pub(super) async fn get(proxy: SocketAddr, way: Way, host: &str, port: u16) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(proxy).await?;
    match way {
        Way::Socks5 => socks5(&mut stream, host, port).await?,
        Way::HttpConnect => http_connect(&mut stream, host, port).await?,
    }
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    body_of(answer)
}

async fn socks5(stream: &mut TcpStream, host: &str, port: u16) -> anyhow::Result<()> {
    let len = u8::try_from(host.len()).map_err(|_| anyhow!("{host} is too long for SOCKS5"))?;
    // Version 5, one method: none needed.
    stream.write_all(&[5, 1, 0]).await?;
    let mut method = [0; 2];
    stream.read_exact(&mut method).await?;
    if method != [5, 0] {
        bail!("the proxy answered {method:?} to the greeting");
    }
    // CONNECT to a name; the proxy also takes an address written as a name.
    let mut request = vec![5, 1, 0, 3, len];
    request.extend_from_slice(host.as_bytes());
    request.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&request).await?;
    let mut reply = [0; 4];
    stream.read_exact(&mut reply).await?;
    let [_, code, _, kind] = reply;
    if code != 0 {
        bail!("the proxy refused with SOCKS5 reply {code}");
    }
    let mut bound = match kind {
        1 => vec![0; 4 + 2],
        4 => vec![0; 16 + 2],
        other => bail!("the proxy answered with address type {other}"),
    };
    stream.read_exact(&mut bound).await?;
    Ok(())
}

async fn http_connect(stream: &mut TcpStream, host: &str, port: u16) -> anyhow::Result<()> {
    let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    // A byte at a time: what follows the head belongs to the page.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES {
            bail!("the proxy's answer has no end");
        }
        head.push(stream.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head);
    let status = text.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("the proxy answered {status:?}");
    }
    Ok(())
}

fn body_of(mut answer: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        let text = String::from_utf8_lossy(&answer);
        bail!("the page answered {:?}", text.lines().next().unwrap_or_default());
    }
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n");
    let end = end.ok_or_else(|| anyhow!("the page's answer has no end of its head"))?;
    Ok(answer.split_off(end + 4))
}
