//! A page fetched through the tunnel: how fast it comes, and what time its server has.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};
use tunless_netstack::{LocalSocket, StackHandle, Target};

use super::{Finding, Verdict};

/// Longest time to the first byte.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest time that is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// Bytes that a rate can be told of.
const ENOUGH_BYTES: u64 = 1_000_000;
/// Longest head that is looked at.
const HEAD_BYTES: usize = 16 * 1024;

/// Fetches `url` for as long as is needed for a rate; gives that, and the server's time since 1970.
pub(super) async fn fetch(stack: &StackHandle, url: &str) -> (Finding, Option<Duration>) {
    match fetched(stack, url).await {
        Ok(page) => {
            let seconds = page.took.as_secs_f64().max(0.001);
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = page.bytes as f64 * 8.0 / seconds / 1e6;
            let text = format!("{} bytes in {seconds:.2} s: {rate:.1} Mbit/s down", page.bytes);
            let finding = if page.bytes < ENOUGH_BYTES {
                Finding::new(
                    "throughput",
                    Verdict::Untested,
                    text,
                    "give --url of something larger than a megabyte",
                )
            } else {
                Finding::good("throughput", text)
            };
            (finding, page.date)
        }
        Err(why) => {
            let remedy = "check the URL; it is fetched through the tunnel, by http only";
            (
                Finding::new("throughput", Verdict::Bad, format!("{url}: {why}"), remedy),
                None,
            )
        }
    }
}

#[derive(Debug)]
struct Page {
    bytes: u64,
    took: Duration,
    date: Option<Duration>,
}

async fn fetched(stack: &StackHandle, url: &str) -> Result<Page, String> {
    let (host, port, path) = parts(url).ok_or("wants http://HOST[:PORT]/PATH")?;
    let target = match host.parse() {
        Ok(ip) => Target::Address(std::net::SocketAddr::new(ip, port)),
        Err(_) => Target::Name(host.to_owned(), port),
    };
    let flow = stack.connect(target).await.map_err(|error| error.to_string())?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    let theirs = theirs.into_std().map_err(|error| error.to_string())?;
    let relay = tokio::spawn(flow.relay(LocalSocket::Unix(theirs), Vec::new()));
    let page = read(ours, host, path).await;
    relay.abort();
    page
}

async fn read(mut stream: UnixStream, host: &str, path: &str) -> Result<Page, String> {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tunless\r\nConnection: close\r\n\r\n");
    let (mut head, mut buf) = (Vec::new(), vec![0; 64 * 1024]);
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    let first = timeout(PATIENCE, stream.read(&mut buf)).await;
    let first = first
        .map_err(|_| "no answer in time")?
        .map_err(|error| error.to_string())?;
    if first == 0 {
        return Err("the server closed without an answer".into());
    }
    let start = Instant::now();
    head.extend_from_slice(buf.get(..first).unwrap_or_default());
    let mut bytes = 0;
    while let Ok(Ok(count)) = timeout(MEASURED.saturating_sub(start.elapsed()), stream.read(&mut buf)).await {
        if count == 0 {
            break;
        }
        if head.len() < HEAD_BYTES {
            head.extend_from_slice(buf.get(..count).unwrap_or_default());
        }
        bytes += count as u64;
    }
    Ok(Page {
        bytes: bytes + first as u64,
        took: start.elapsed(),
        date: date(&String::from_utf8_lossy(&head)),
    })
}

/// Host, port and path of an http URL.
fn parts(url: &str) -> Option<(&str, u16, &str)> {
    let rest = url.strip_prefix("http://")?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let path = if path.is_empty() { "/" } else { path };
    if path.contains(|c: char| c.is_control() || c == ' ') {
        return None;
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (authority, 80),
    };
    let host = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    (!host.is_empty()).then_some((host, port, path))
}

/// The `Date` of an answer (RFC 9110 §5.6.7), since 1970.
fn date(head: &str) -> Option<Duration> {
    let head = head.split("\r\n\r\n").next()?;
    let line = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("date").then(|| value.trim())
    })?;
    // Sun, 06 Nov 1994 08:49:37 GMT
    let mut words = line.split_whitespace().skip(1);
    let (day, month, year) = (
        words.next()?.parse::<u64>().ok()?,
        words.next()?,
        words.next()?.parse::<u64>().ok()?,
    );
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = months.iter().position(|name| *name == month)? as u64 + 1;
    let mut clock = words.next()?.splitn(3, ':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (clock.next()??, clock.next()??, clock.next()??);
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970 by the Gregorian rules, with years that begin in March.
    let (year, shifted) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (shifted * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(Duration::from_secs(
        days * 86_400 + hours * 3600 + minutes * 60 + seconds,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(parts("http://a.test"), Some(("a.test", 80, "/")));
        assert_eq!(parts("http://a.test:8080/x?y"), Some(("a.test", 8080, "/x?y")));
        assert_eq!(parts("http://[fd00::1]:81/"), Some(("fd00::1", 81, "/")));
        assert_eq!(parts("http://[fd00::1]/"), Some(("fd00::1", 80, "/")));
        for bad in [
            "https://a.test/",
            "a.test",
            "http://",
            "http://a:x/",
            "http://a/\r\nX: y",
        ] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_are_read_to_the_second() {
        let at =
            |text: &str| date(&format!("HTTP/1.1 200 OK\r\ndate: {text}\r\n\r\n")).map(|time| time.as_secs());
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(at("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(at("Tue, 29 Feb 2000 12:00:00 GMT"), Some(951_825_600));
        assert_eq!(at("yesterday"), None);
    }
}
