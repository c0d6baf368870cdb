//! `tunless ctl`: one question or order to a running tunnel.
//!
//! Secrets come from the terminal or standard input, never from the command line.

use std::{
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tunless_core::secret::SecretString;
use zeroize::Zeroizing;

use super::{
    args::{Ctl, CtlCommand},
    output::Output,
    prompt,
    terminal::TerminalGuard,
    units,
};
use crate::{
    cli::exit::{Failure, Status},
    control::{Client, Found, Request, find},
    driver::{Answer, ChallengeOrigin, QuestionKind, shutdown::Signals},
};

/// What is said where nothing runs.
pub(super) const NOTHING: &str = "no tunnel is running; start one with `tunless PROFILE.ovpn`";

/// Asks or tells the tunnel that is meant.
pub(super) fn run(args: &Ctl, output: Output) -> Result<Status, Failure> {
    let found = choose(args.device.as_deref())?;
    let mut client = Client::connect(&found.path)?;
    let (request, said) = match &args.command {
        CtlCommand::State => (Request::Status, ""),
        CtlCommand::Statistics => (Request::Statistics, ""),
        CtlCommand::Connections => (Request::Connections, ""),
        CtlCommand::Close { id } => (Request::Close { id: *id }, "closed"),
        CtlCommand::Pause => (Request::Pause, "pausing"),
        CtlCommand::Resume => (Request::Resume, "resuming"),
        CtlCommand::Reconnect => (Request::Reconnect, "reconnecting"),
        CtlCommand::Disconnect => (Request::Disconnect, "disconnecting"),
        CtlCommand::LogLevel { level } => (Request::LogLevel { level: *level }, "log level set"),
        CtlCommand::Events => {
            client.events(|event| show_event(event, output))?;
            return Ok(Status::Done);
        }
        CtlCommand::Answer { stdin } => (ask_person(&mut client, *stdin)?, "answered"),
    };
    let lines = client.ask(&request)?;
    if output.is_json() {
        for line in &lines {
            output.object(line);
        }
        if !said.is_empty() {
            output.say(
                "done",
                "",
                json!({ "request": request.name(), "device": found.device }),
            );
        }
    } else if said.is_empty() {
        output.print(&readable(&request, &lines));
    } else {
        output.say("done", &format!("{}: {said}", found.device), json!({}));
    }
    Ok(Status::Done)
}

/// The tunnel of that name, or the only one there is.
pub(super) fn choose(name: Option<&str>) -> Result<Found, Failure> {
    if let Some(path) = name.map(Path::new).filter(|path| path.components().count() > 1) {
        return Ok(Found {
            device: path.display().to_string(),
            path: PathBuf::from(path),
        });
    }
    Ok(choose_from(find(), name)?)
}

fn choose_from(mut all: Vec<Found>, name: Option<&str>) -> anyhow::Result<Found> {
    let names: Vec<_> = all.iter().map(|found| found.device.clone()).collect();
    all.retain(|found| name.is_none_or(|name| name == found.device));
    match (all.len(), name) {
        (0, _) if names.is_empty() => Err(anyhow!(NOTHING)),
        (0, name) => {
            let name = name.unwrap_or_default();
            Err(anyhow!(
                "no tunnel {name:?} is running; there are {}",
                names.join(", ")
            ))
        }
        (1, _) => all.pop().context(NOTHING),
        (_, None) => Err(anyhow!(
            "several tunnels are running: {}; choose one with `--device NAME`",
            names.join(", ")
        )),
        (_, Some(_)) => {
            let paths: Vec<_> = all.iter().map(|found| found.path.display().to_string()).collect();
            Err(anyhow!(
                "several tunnels have that name; choose one with `--device` and {}",
                paths.join(" or ")
            ))
        }
    }
}

/// The state in words with the time since it began.
pub(super) fn state_line(status: &Value) -> String {
    let text = |field: &str| status[field].as_str().unwrap_or_default();
    let since = units::duration(status["state_seconds"].as_u64().unwrap_or(0));
    if status["paused"] == true {
        return format!("paused for {since}");
    }
    let state = text("state").to_ascii_lowercase().replace('_', " ");
    match (text("state"), text("detail")) {
        ("CONNECTED", _) | (_, "") => format!("{state} for {since}"),
        (_, detail) => format!("{state} ({detail}) for {since}"),
    }
}

fn readable(request: &Request, lines: &[Value]) -> String {
    match (request, lines.first()) {
        (Request::Connections, None) => "no connections".into(),
        (Request::Connections, Some(_)) => connections(lines),
        (Request::Statistics, Some(line)) => statistics(line),
        (_, Some(line)) => state_line(line),
        (_, None) => String::new(),
    }
}

fn connections(lines: &[Value]) -> String {
    let heading = ["id", "kind", "client", "target", "sent", "received", "age"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    for line in lines {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        let number = |field: &str| line[field].as_u64().unwrap_or(0);
        let target = if line["open"] == true {
            text("target")
        } else {
            format!("{} (opening)", text("target"))
        };
        rows.push(vec![
            number("id").to_string(),
            text("kind"),
            text("client"),
            target,
            units::bytes(number("sent_bytes")),
            units::bytes(number("received_bytes")),
            units::duration(number("seconds")),
        ]);
    }
    units::table(&rows, &[0, 4, 5, 6])
}

/// Every counter on a line, by section; bytes in units, too.
fn statistics(line: &Value) -> String {
    let alone = ["attempts", "connections", "keys_renewed"];
    let mut rows: Vec<_> = alone
        .map(|name| vec![name.to_owned(), line[name].to_string()])
        .into();
    for section in ["tunnel", "link", "session", "not_accepted", "flows", "proxy"] {
        let counters = line[section].as_object().into_iter().flatten();
        for (name, value) in counters {
            let mut row = vec![format!("{section}.{name}"), value.to_string()];
            if name.contains("bytes") {
                row.push(units::bytes(value.as_u64().unwrap_or(0)));
            }
            rows.push(row);
        }
    }
    units::table(&rows, &[1])
}

/// Prints an event; `false` when nobody takes it.
fn show_event(event: &Value, output: Output) -> bool {
    if output.is_json() {
        return output.object(event);
    }
    let text = |field: &str| event[field].as_str().unwrap_or_default();
    let line = match text("event") {
        "state" => format!("state {} {}", text("state"), text("detail")),
        "connected" => format!(
            "connected to {} ({}/{})",
            text("host"),
            text("address"),
            text("carrier")
        ),
        "retry" => format!("{}; trying {}", text("reason"), text("next")),
        "info" => format!("the server says: {}", text("text")),
        "ended" => format!("ended: {}", text("reason")),
        "renewed" => "keys renewed".into(),
        "missed" => format!("missed {} events", event["count"]),
        "question" => format!("question {}: an answer is wanted ({})", event["id"], text("kind")),
        "question-gone" => format!("question {} is answered or void", event["id"]),
        _ => event.to_string(),
    };
    output.print(line.trim_end())
}

/// Gets the answer to the open question from a person or from standard input.
fn ask_person(client: &mut Client, stdin: bool) -> Result<Request, Failure> {
    let status = client.ask(&Request::Status)?;
    let question = status.first().and_then(|status| status["questions"].get(0));
    let question = question.context("the tunnel asks nothing at the moment")?;
    let id = question["id"]
        .as_u64()
        .context("the tunnel's question has no number")?;
    let kind = kind_of(question)?;
    if stdin {
        return read_answer(id, &kind, &mut io::stdin().lock());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(anyhow!(
            "there is no terminal to ask on; give `--stdin` and the answer on standard input"
        )));
    }
    Ok(match super::wait_for(ask(kind))? {
        Answer::Credentials { username, password } => answer(id, Some(username), password),
        Answer::Passphrase(secret) | Answer::Response(secret) => answer(id, None, secret),
    })
}

fn answer(id: u64, username: Option<String>, secret: SecretString) -> Request {
    Request::Answer { id, username, secret }
}

/// What is asked, out of a line of the tunnel.
fn kind_of(question: &Value) -> anyhow::Result<QuestionKind> {
    let text = |field: &str| question[field].as_str().map(str::to_owned);
    Ok(match question["kind"].as_str().unwrap_or_default() {
        "credentials" => QuestionKind::Credentials {
            username: text("username"),
            refused: text("message"),
        },
        "proxy-credentials" => QuestionKind::ProxyCredentials {
            proxy: text("proxy").unwrap_or_default(),
            refused: question["refused"].as_bool().unwrap_or_default(),
        },
        "passphrase" => QuestionKind::Passphrase {
            is_wrong: question["wrong"].as_bool().unwrap_or_default(),
        },
        "challenge" => QuestionKind::Challenge {
            origin: ChallengeOrigin::Pending,
            text: text("message").unwrap_or_default(),
            echo: question["echo"].as_bool().unwrap_or_default(),
        },
        "open-url" => {
            let url = text("url").unwrap_or_default();
            return Err(anyhow!("open this page to sign in: {}", prompt::printable(&url)));
        }
        other => {
            return Err(anyhow!(
                "the tunnel asks for {other:?}, which this version does not know"
            ));
        }
    })
}

/// Asks on the terminal, which is as it was before when a signal ends the asking.
async fn ask(kind: QuestionKind) -> Result<Answer, Failure> {
    let mut signals = Signals::new().context("cannot take signals over")?;
    let guard = TerminalGuard::default();
    let state = guard.state.clone();
    let (tell, told) = oneshot::channel();
    let ask = move || {
        // Nobody waits any longer when a signal came first.
        let _gone = tell.send(prompt::prompt(&kind, None, &state));
    };
    std::thread::Builder::new()
        .name("tunless-prompt".into())
        .spawn(ask)
        .context("cannot ask")?;
    tokio::select! {
        _ = signals.recv() => Err(anyhow!("interrupted").into()),
        answer = told => answer.ok().flatten().ok_or_else(|| anyhow!("nothing was typed").into()),
    }
}

/// What is asked for, a line each: the user's name unless it is known, then the password; or the one answer.
fn read_answer(id: u64, kind: &QuestionKind, from: &mut impl io::BufRead) -> Result<Request, Failure> {
    let mut line = || -> anyhow::Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        from.read_line(&mut text).context("cannot read standard input")?;
        let line = text.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            return Err(anyhow!(
                "standard input ends too early: it wants the user name, unless it is known, and the password"
            ));
        }
        Ok(Zeroizing::new(line.to_owned()))
    };
    let username = match kind {
        QuestionKind::Credentials {
            username: Some(known),
            ..
        } => Some(known.clone()),
        QuestionKind::Credentials { username: None, .. } | QuestionKind::ProxyCredentials { .. } => {
            Some(line()?.to_string())
        }
        QuestionKind::Passphrase { .. } | QuestionKind::Challenge { .. } | QuestionKind::OpenUrl { .. } => {
            None
        }
    };
    Ok(answer(id, username, SecretString::new(line()?.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Vec<Found> {
        let found = |name: &&str| Found {
            device: (*name).to_owned(),
            path: PathBuf::from("run").join(name),
        };
        names.iter().map(found).collect()
    }

    #[test]
    fn one_tunnel_needs_no_name_and_several_are_listed() {
        let choose = |names: &[&str], name: Option<&str>| choose_from(found(names), name);
        assert_eq!(choose(&["netstack0"], None).unwrap().device, "netstack0");
        let both = ["netstack0", "netstack1"];
        assert_eq!(choose(&both, Some("netstack1")).unwrap().device, "netstack1");
        let why = |result: anyhow::Result<Found>| result.unwrap_err().to_string();
        let several = why(choose(&both, None));
        assert!(
            several.contains("netstack0, netstack1") && several.contains("--device"),
            "{several}"
        );
        assert!(why(choose(&both, Some("netstack7"))).contains("netstack0, netstack1"));
        assert_eq!(why(choose(&[], None)), NOTHING);
        assert_eq!(why(choose(&[], Some("netstack0"))), NOTHING);
        assert!(why(choose(&["netstack0", "netstack0"], Some("netstack0"))).contains("run/netstack0"));
    }

    #[test]
    fn an_answer_is_read_line_by_line() {
        let read = |kind: &QuestionKind, text: &str| read_answer(7, kind, &mut text.as_bytes());
        let credentials = |username: Option<&str>| QuestionKind::Credentials {
            username: username.map(str::to_owned),
            refused: None,
        };
        let is = |request: Result<Request, Failure>, name: Option<&str>, text: &str| {
            let wanted = answer(7, name.map(str::to_owned), SecretString::new(text));
            assert_eq!(request.unwrap(), wanted);
        };
        is(
            read(&credentials(None), "ann\r\nhunter2\n"),
            Some("ann"),
            "hunter2",
        );
        is(read(&credentials(Some("bob")), "hunter2"), Some("bob"), "hunter2");
        is(
            read(&QuestionKind::Passphrase { is_wrong: false }, "open\n"),
            None,
            "open",
        );
        let short = read(&credentials(None), "ann\n").unwrap_err();
        assert!(short.error.to_string().contains("too early"), "{:#}", short.error);
    }

    #[test]
    fn states_and_lists_are_readable() {
        let state = |value: Value| state_line(&value);
        assert_eq!(
            state(json!({ "state": "CONNECTED", "detail": "SUCCESS", "state_seconds": 7 })),
            "connected for 0:07"
        );
        assert_eq!(
            state(json!({ "state": "TCP_CONNECT", "detail": "" })),
            "tcp connect for 0:00"
        );
        assert_eq!(
            state(json!({ "state": "CONNECTING", "paused": true })),
            "paused for 0:00"
        );
        let line = json!({ "id": 3, "kind": "socks5", "client": "c", "target": "t:1", "open": false, "seconds": 61 });
        let list = connections(&[line]);
        assert!(list.ends_with("1:01") && list.contains("t:1 (opening)"), "{list}");
        let counters = statistics(&json!({ "attempts": 1, "proxy": { "up_bytes": 2000, "failed": 1 } }));
        assert!(
            counters.contains("proxy.up_bytes") && counters.contains("2.0 kB"),
            "{counters}"
        );
    }
}
