//! `tunless doctor`: brings a tunnel up, tests what people complain about, and says what to do.
//!
//! Each test is one finding. Nothing is changed on the host, and no test sends anything but through the tunnel.

mod names;
mod page;
mod sockets;

use std::{fmt, time::Duration};

use anyhow::{Context as _, anyhow};
use serde_json::json;
use tokio::{sync::broadcast::error::RecvError, task::spawn_blocking, time::Instant};
use tunless_core::client::ExitKind;
use tunless_netstack::{Limits, StackHandle};

use super::{
    args::Doctor,
    connect::{self, Prepared},
    output::Output,
    prompt::Prompter,
    terminal::TerminalGuard,
};
use crate::{
    cli::exit::{Failure, Status},
    driver::{
        Command, Event, Up,
        client::{self, Options, Running},
        clock,
        shutdown::Signals,
    },
};

/// Longest time to a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(45);
/// A clock that is off by more than this makes certificates and one-time passwords fail.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// Works, but not as it could.
    Doubtful,
    Bad,
    /// Could not be tested.
    Untested,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "ok",
            Self::Doubtful => "doubt",
            Self::Bad => "BAD",
            Self::Untested => "-",
        })
    }
}

/// What a test found.
#[derive(Debug)]
struct Finding {
    about: &'static str,
    verdict: Verdict,
    text: String,
    /// What to do; empty where there is nothing.
    remedy: &'static str,
}

impl Finding {
    fn new(about: &'static str, verdict: Verdict, text: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            about,
            verdict,
            text: text.into(),
            remedy,
        }
    }

    fn good(about: &'static str, text: impl Into<String>) -> Self {
        Self::new(about, Verdict::Good, text, "")
    }
}

/// Prints findings as they come, and keeps the worst.
#[derive(Debug)]
struct Report {
    output: Output,
    bad: usize,
    doubtful: usize,
}

impl Report {
    fn add(&mut self, finding: &Finding) {
        match finding.verdict {
            Verdict::Bad => self.bad += 1,
            Verdict::Doubtful => self.doubtful += 1,
            Verdict::Good | Verdict::Untested => {}
        }
        let Finding {
            about,
            verdict,
            text,
            remedy,
        } = finding;
        let line = format!("{verdict:<6}{about:<11}{text}");
        let line = if remedy.is_empty() {
            line
        } else {
            format!("{line}\n{:17}→ {remedy}", "")
        };
        let verdict = match verdict {
            Verdict::Good => "ok",
            Verdict::Doubtful => "doubt",
            Verdict::Bad => "bad",
            Verdict::Untested => "untested",
        };
        let fields = json!({ "about": about, "verdict": verdict, "text": text, "remedy": remedy });
        self.output.say("finding", &line, fields);
    }

    /// The last line, and the status.
    fn end(&self) -> Status {
        let text = match (self.bad, self.doubtful) {
            (0, 0) => "everything is as it should be".to_owned(),
            (0, doubtful) => format!("works; {doubtful} things could be better"),
            (bad, _) => format!("{bad} things are wrong"),
        };
        let fields = json!({ "bad": self.bad, "doubtful": self.doubtful });
        self.output.say("verdict", &text, fields);
        if self.bad == 0 {
            Status::Done
        } else {
            Status::Failed
        }
    }
}

/// Connects, tests, leaves.
pub(super) async fn run(args: &Doctor, output: Output) -> Result<Status, Failure> {
    let mut report = Report {
        output,
        bad: 0,
        doubtful: 0,
    };
    let Prepared {
        setup,
        credentials,
        password,
    } = connect::prepare(&args.profile, &args.login)?;
    report.add(&Finding::good(
        "profile",
        format!("{} can be used", args.profile.display()),
    ));
    let options = Options {
        setup,
        credentials,
        dns: args.dns.clone(),
        limits: Limits::default(),
        fallback_dns: Vec::new(),
        connect_timeout: Some(CONNECT_PATIENCE),
    };
    let mut signals = Signals::new().context("cannot take signals over")?;
    let terminal = TerminalGuard::default();
    let mut prompter = Prompter::new(password, terminal.state.clone());
    let mut events = None;
    let start = Instant::now();
    let running =
        client::start(options, |handle| events = Some(handle.events())).context("cannot start the tunnel")?;
    let mut events = events.unwrap_or_else(|| running.handle.events());
    let up = loop {
        let event = tokio::select! {
            _signal = signals.recv() => return leave(running, Ok(Status::Failed)).await,
            event = events.recv() => event,
        };
        match event {
            Ok(Event::Connected(up)) => break up,
            Ok(Event::Question(question)) => prompter.ask(running.handle.clone(), question),
            Ok(Event::Ended(end)) => {
                report.add(&Finding::new(
                    "connect",
                    Verdict::Bad,
                    end.reason.clone(),
                    remedy_of_end(&end.reason),
                ));
                let status = match end.kind {
                    ExitKind::AuthFailed => Status::AuthFailed,
                    ExitKind::Done | ExitKind::Failed => report.end(),
                };
                return leave(running, Ok(status)).await;
            }
            Err(RecvError::Closed) => return leave(running, Err(anyhow!("the tunnel is gone").into())).await,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
        }
    };
    report.add(&connected(&up, start.elapsed()));
    let tests = test_all(args, &running.stack, &up, &mut report);
    tokio::select! {
        _signal = signals.recv() => return leave(running, Ok(Status::Failed)).await,
        () = tests => {}
    }
    let status = report.end();
    leave(running, Ok(status)).await
}

async fn leave(running: Running, outcome: Result<Status, Failure>) -> Result<Status, Failure> {
    running.handle.send(Command::Disconnect);
    let _end = spawn_blocking(move || running.join())
        .await
        .context("cannot wait for the tunnel")?;
    outcome
}

async fn test_all(args: &Doctor, stack: &StackHandle, up: &Up, report: &mut Report) {
    report.add(&addresses(up));
    let watch = sockets::Watch::start(up.address);
    for server in &up.dns {
        report.add(&names::server(stack, *server, up).await);
    }
    if up.dns.is_empty() {
        report.add(&Finding::new(
            "names",
            Verdict::Bad,
            "the server pushed no resolver: names are refused, addresses work",
            "name a resolver inside the VPN with --dns ADDR",
        ));
    }
    for name in &args.name {
        report.add(&names::lookup(stack, name).await);
    }
    report.add(&names::mtu(stack, up).await);
    let (throughput, date) = if let Some(url) = &args.url {
        page::fetch(stack, url).await
    } else {
        let remedy = "give --url http://HOST/PATH of something large";
        let text = "needs a page inside the VPN";
        (Finding::new("throughput", Verdict::Untested, text, remedy), None)
    };
    report.add(&throughput);
    report.add(&clock_by(date));
    report.add(&watch.finding().await);
}

fn connected(up: &Up, took: Duration) -> Finding {
    let text = format!(
        "{} ({}/{}) in {} ms; {}, {}",
        up.host,
        up.address,
        up.carrier,
        took.as_millis(),
        up.tls,
        up.cipher
    );
    Finding::good("connect", text)
}

fn addresses(up: &Up) -> Finding {
    let list: Vec<String> = up.inner.iter().map(ToString::to_string).collect();
    let text = format!("{} on {}, MTU {}", list.join(", "), up.device, up.mtu_bytes);
    let wants_v6 = up.redirects.1 || up.routes.iter().any(|net| net.addr().is_ipv6());
    if wants_v6 && !up.inner.iter().any(|net| net.addr().is_ipv6()) {
        return Finding::new(
            "addresses",
            Verdict::Doubtful,
            format!("{text}; IPv6 is routed but there is no address for it"),
            "ask the VPN's administrator for ifconfig-ipv6",
        );
    }
    Finding::good("addresses", text)
}

/// What the clock says beside a server's `Date`; that the certificates are valid now is shown by being connected.
fn clock_by(date: Option<Duration>) -> Finding {
    let now = clock::wall().unix_at(clock::now());
    let Some(date) = date else {
        return Finding::good(
            "clock",
            "within the validity of all certificates (give --url to compare it with a server)",
        );
    };
    let off = now.abs_diff(date);
    if off > CLOCK_TOLERANCE {
        let direction = if now > date { "ahead of" } else { "behind" };
        Finding::new(
            "clock",
            Verdict::Bad,
            format!("{} s {direction} the server's", off.as_secs()),
            "set the clock (timedatectl set-ntp true): certificates and one-time passwords depend on it",
        )
    } else {
        Finding::good("clock", format!("{} s from the server's", off.as_secs()))
    }
}

/// The most frequent reasons, and what helps.
fn remedy_of_end(reason: &str) -> &'static str {
    let hints = [
        ("not valid before", "set the clock (timedatectl set-ntp true)"),
        ("expired", "set the clock, or ask for a new certificate"),
        (
            "resolve",
            "check the name of `remote` and this host's own resolver",
        ),
        (
            "no answer",
            "check that the port is open (another network, a firewall) and that the profile is current",
        ),
        ("refused", "check `remote`, its port and `proto`"),
        ("authentication", "check user name, password and one-time code"),
    ];
    let found = hints.iter().find(|(part, _)| reason.contains(part));
    found.map_or("run again with -vv to see each step", |(_, remedy)| remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_told_with_its_direction() {
        let now = clock::wall().unix_at(clock::now());
        let early = clock_by(Some(now + Duration::from_hours(2)));
        assert!(
            early.verdict == Verdict::Bad && early.text.contains("behind"),
            "{early:?}"
        );
        let late = clock_by(Some(now.saturating_sub(Duration::from_hours(2))));
        assert!(
            late.verdict == Verdict::Bad && late.text.contains("ahead"),
            "{late:?}"
        );
        assert_eq!(clock_by(Some(now)).verdict, Verdict::Good);
    }

    #[test]
    fn each_usual_reason_has_a_remedy_of_its_own() {
        for (reason, part) in [
            ("no answer within 60 s: the server is down", "port"),
            ("certificate \"CN=x\" is not valid before 2030-01-01", "clock"),
            ("authentication failed", "password"),
            ("cannot resolve the server's name: x", "resolver"),
            ("something else", "-vv"),
        ] {
            assert!(remedy_of_end(reason).contains(part), "{reason}");
        }
    }
}
