//! Clients on a host: our own SOCKS5 and HTTP CONNECT, plain HTTP on top, and `curl`.

use std::io::{Error, Read, Result, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use crate::inner::{read_pattern, write_pattern};
use crate::netns::Host;

/// Longest silence on a connection.
const SILENCE: Duration = Duration::from_secs(30);

/// How to get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Direct,
    Socks(SocketAddr),
    Http(SocketAddr),
}

impl Via {
    /// A connection from `host` to `target` (a name or an address) and `port`.
    pub(crate) fn connect(self, host: &Host, target: &str, port: u16) -> Result<TcpStream> {
        host.enter(|| self.connect_here(target, port))
    }

    /// The same on a thread that is in the right namespace already.
    pub(crate) fn connect_here(self, target: &str, port: u16) -> Result<TcpStream> {
        let stream = match self {
            Self::Direct => TcpStream::connect((target, port))?,
            Self::Socks(proxy) | Self::Http(proxy) => TcpStream::connect_timeout(&proxy, SILENCE)?,
        };
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        match self {
            Self::Direct => {}
            Self::Socks(_) => ask_socks(&stream, target, port)?,
            Self::Http(_) => ask_http(&stream, target, port)?,
        }
        Ok(stream)
    }
}

fn ask_socks(mut stream: &TcpStream, target: &str, port: u16) -> Result<()> {
    stream.write_all(&[5, 1, 0])?;
    let mut method = [0; 2];
    stream.read_exact(&mut method)?;
    if method != [5, 0] {
        return Err(Error::other(format!("SOCKS method {method:?}")));
    }
    let mut request = vec![5, 1, 0];
    match target.parse() {
        Ok(std::net::IpAddr::V4(ip)) => request.extend([&[1], &ip.octets()[..]].concat()),
        Ok(std::net::IpAddr::V6(ip)) => request.extend([&[4], &ip.octets()[..]].concat()),
        Err(_) => {
            request.extend([3, u8::try_from(target.len()).map_err(Error::other)?]);
            request.extend(target.as_bytes());
        }
    }
    request.extend(port.to_be_bytes());
    stream.write_all(&request)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    if head[1] != 0 {
        return Err(Error::other(format!("SOCKS reply {}", head[1])));
    }
    let rest = match head[3] {
        1 => 6,
        4 => 18,
        other => return Err(Error::other(format!("SOCKS address type {other}"))),
    };
    stream.read_exact(&mut vec![0; rest])
}

fn ask_http(mut stream: &TcpStream, target: &str, port: u16) -> Result<()> {
    let target = if target.parse::<Ipv6Addr>().is_ok() {
        format!("[{target}]")
    } else {
        target.to_owned()
    };
    write!(
        stream,
        "CONNECT {target}:{port} HTTP/1.1\r\nHost: {target}:{port}\r\n\r\n"
    )?;
    let head = read_head(stream)?;
    if head.split_whitespace().nth(1) == Some("200") {
        Ok(())
    } else {
        Err(Error::other(head))
    }
}

/// Reads up to and with the empty line, byte for byte so that nothing after it is lost.
fn read_head(mut stream: &TcpStream) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 || head.len() > 16 * 1024 {
            return Err(Error::other(format!(
                "ended within the head: {}",
                String::from_utf8_lossy(&head)
            )));
        }
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn request(mut stream: &TcpStream, line: &str, len: u64) -> Result<()> {
    write!(
        stream,
        "{line} HTTP/1.1\r\nHost: inner\r\nContent-Length: {len}\r\n\r\n"
    )
}

/// The body of a page on a connection that was just made.
pub(crate) fn page(mut stream: &TcpStream, path: &str) -> Result<String> {
    request(stream, &format!("GET {path}"), 0)?;
    let head = read_head(stream)?;
    let mut body = String::new();
    stream.read_to_string(&mut body)?;
    if head.split_whitespace().nth(1) == Some("200") {
        Ok(body)
    } else {
        Err(Error::other(head))
    }
}

/// Downloads `len` bytes and compares each with what it has to be.
pub(crate) fn download(mut stream: &TcpStream, len: u64) -> Result<()> {
    request(stream, &format!("GET /bytes/{len}"), 0)?;
    let head = read_head(stream)?;
    if head.split_whitespace().nth(1) != Some("200") {
        return Err(Error::other(head));
    }
    read_pattern(&mut stream, len)?;
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(Error::other(format!("more than {len} bytes"))),
    }
}

/// Uploads `len` bytes and gives the server's verdict.
pub(crate) fn upload(mut stream: &TcpStream, len: u64) -> Result<String> {
    request(stream, "POST /upload", len)?;
    write_pattern(&mut stream, len)?;
    read_head(stream)?;
    let mut body = String::new();
    stream.read_to_string(&mut body)?;
    Ok(body)
}

/// `curl` on `host`, quiet but for errors, at most for `seconds`.
pub(crate) fn curl(host: &Host, seconds: u32, arguments: &[&str]) -> Command {
    let mut command = host.command("curl");
    command
        .args(["-sS", "--fail", "--max-time", &seconds.to_string()])
        .args(arguments);
    for name in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "ALL_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
    ] {
        command.env_remove(name);
    }
    command
}
