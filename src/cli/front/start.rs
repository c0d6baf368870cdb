//! `tunless sessions start`: from a profile to a connection, with everything that has to be answered on the way.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use serde_json::json;
use tokio::task::spawn_blocking;
use tunless_dbus::{
    bus::{Body, Bus, Received},
    constants::{Status as Told, StatusMajor, StatusMinor},
    front::{Asked, Profiles, Session, Sessions, Signals as BusSignals},
    names::{interface, path, service},
};
use zeroize::Zeroizing;

use super::{all_as_json, configs, failed, read, status::words};
use crate::{
    cli::{
        exit::{Failure, Status},
        flags::front::Start,
        output::Output,
        prompt::printable,
    },
    driver::shutdown::Signals,
};

/// Longest wait for a connection where none is given: a person may have to answer.
const PATIENCE: Duration = Duration::from_mins(5);

pub(super) async fn run(bus: &Bus, args: &Start, output: Output) -> Result<Status, Failure> {
    let profiles = Profiles::new(bus);
    let named = profiles
        .named(&args.profile)
        .await
        .map_err(failed("cannot look the profile up"))?;
    let profile = if named.is_empty() && !args.profile.starts_with(path::CONFIGURATION) {
        let file = Path::new(&args.profile);
        if !file.exists() {
            return Err(anyhow!("{:?} is neither a stored profile nor a file", args.profile).into());
        }
        let (name, text) = read(file)?;
        let imported = profiles.import(&name, &text, true, false).await;
        imported.map_err(failed("the profile was not stored"))?
    } else {
        configs::one(&profiles, &args.profile).await?
    };
    let session = Sessions::new(bus)
        .start(&profile)
        .await
        .map_err(failed("the session cannot be started"))?;
    output.say(
        "started",
        &format!("session {}", session.path),
        json!({ "path": session.path }),
    );
    if args.background {
        answer_all(&session).await?;
        session
            .tell("Connect", Body::none())
            .await
            .map_err(failed("it cannot connect"))?;
        return Ok(Status::Done);
    }
    let limit = args.timeout.unwrap_or(PATIENCE);
    match tokio::time::timeout(limit, connect(bus, &session, output)).await {
        Ok(Ok(ended)) => finish(&session, ended, true, output).await,
        Ok(Err(failure)) => {
            leave(&session).await;
            Err(failure)
        }
        Err(_elapsed) => {
            let late = format!("not connected within {} s", limit.as_secs());
            finish(&session, Ended::Failed(late), true, output).await
        }
    }
}

/// Answers what a session that runs asks, and waits for what follows.
pub(super) async fn go_on(bus: &Bus, session: &Session, output: Output) -> Result<Status, Failure> {
    let asked = session.asked().await.map_err(failed("cannot ask it"))?;
    if asked.is_empty() {
        let status = session.status().await.map_err(failed("cannot ask it"))?;
        output.say(
            "status",
            &words(&status),
            json!({ "path": session.path, "status": words(&status) }),
        );
        return Ok(Status::Done);
    }
    let ended = connect(bus, session, output).await?;
    finish(session, ended, false, output).await
}

/// How an attempt ended.
enum Ended {
    Connected,
    AuthFailed(String),
    Failed(String),
    Interrupted,
}

async fn finish(session: &Session, ended: Ended, is_ours: bool, output: Output) -> Result<Status, Failure> {
    let (status, error) = match ended {
        Ended::Connected => {
            show_offers(session, output).await?;
            return Ok(Status::Done);
        }
        Ended::AuthFailed(why) => (Status::AuthFailed, anyhow!(why)),
        Ended::Failed(why) => (Status::Failed, anyhow!(why)),
        Ended::Interrupted => (Status::Failed, anyhow!("interrupted")),
    };
    if is_ours {
        leave(session).await;
    }
    Err(Failure { status, error })
}

/// What was started here and came to nothing does not stay; it may be gone by itself.
async fn leave(session: &Session) {
    if let Err(error) = session.tell("Disconnect", Body::none()).await {
        tracing::debug!(%error, "the session is gone");
    }
}

async fn show_offers(session: &Session, output: Output) -> Result<(), Failure> {
    let known = all_as_json(
        &session
            .properties(false)
            .await
            .map_err(failed("cannot read it"))?,
    );
    let own = all_as_json(&session.properties(true).await.unwrap_or_default());
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let to = &known["connected_to"];
    let mut lines = vec![format!(
        "connected to {}/{}:{}, device {}",
        text(&to[0]),
        text(&to[1]),
        to[2],
        text(&known["device_name"])
    )];
    if let Some(proxy) = own["proxies"][0].as_str() {
        lines.push(format!("curl --proxy socks5h://{proxy} https://example.com/"));
        lines.push(format!("PAC {}", text(&own["pac"])));
    }
    let fields = json!({ "path": session.path, "properties": known, "offers": own });
    output.say("connected", &lines.join("\n"), fields);
    Ok(())
}

async fn connect(bus: &Bus, session: &Session, output: Output) -> Result<Ended, Failure> {
    let mut signals = Signals::new()?;
    let mut news = follow(bus, session).await?;
    loop {
        tokio::select! {
            answered = answer_all(session) => answered?,
            _signal = signals.recv() => return Ok(Ended::Interrupted),
        }
        session
            .tell("Connect", Body::none())
            .await
            .map_err(failed("it cannot connect"))?;
        // What is asked next is asked again from the top.
        loop {
            let told = tokio::select! {
                told = news.next() => told,
                _signal = signals.recv() => return Ok(Ended::Interrupted),
            };
            let Some(told) = told else {
                return Ok(Ended::Failed("the bus is gone".into()));
            };
            show(&told, output);
            let News::Status(status) = told else { continue };
            match (status.major, status.minor) {
                (_, StatusMinor::ConnConnected) => return Ok(Ended::Connected),
                (_, StatusMinor::ConnAuthFailed) => return Ok(Ended::AuthFailed(words(&status))),
                (_, StatusMinor::ConnFailed | StatusMinor::ConnDisconnected | StatusMinor::ConnDone)
                | (StatusMajor::Session, StatusMinor::ProcStopped | StatusMinor::ProcKilled) => {
                    return Ok(Ended::Failed(words(&status)));
                }
                (StatusMajor::Connection, StatusMinor::CfgRequireUser) => break,
                (_, _) => {}
            }
        }
    }
}

/// Answers everything that is asked, from the terminal or line by line from standard input.
async fn answer_all(session: &Session) -> Result<(), Failure> {
    while !session.is_ready().await.map_err(failed("it is not ready"))? {
        let asked = session.asked().await.map_err(failed("cannot ask it"))?;
        if asked.is_empty() {
            // A page has to be used; what follows comes as a status.
            return Ok(());
        }
        for one in asked {
            let question = one.clone();
            let value = spawn_blocking(move || prompt(&question))
                .await
                .context("the prompt failed")??;
            session
                .answer(&one, &value)
                .await
                .map_err(failed("the answer was refused"))?;
        }
    }
    Ok(())
}

fn prompt(asked: &Asked) -> Result<Zeroizing<String>, Failure> {
    let text = format!("{}: ", printable(&asked.description));
    let missing = || Failure::auth(anyhow!("{} was not given", printable(&asked.description)));
    if asked.hidden && io::stdin().is_terminal() {
        let typed = rpassword::prompt_password(text).map_err(|_error| missing())?;
        return Ok(Zeroizing::new(typed));
    }
    let mut terminal = io::stderr();
    terminal
        .write_all(text.as_bytes())
        .and_then(|()| terminal.flush())
        .map_err(|_error| missing())?;
    let mut line = Zeroizing::new(String::new());
    let read = io::stdin().read_line(&mut line).map_err(|_error| missing())?;
    let line = Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned());
    if read == 0 || line.is_empty() {
        return Err(missing());
    }
    Ok(line)
}

/// Something that was told of a session.
#[derive(Debug)]
pub(super) enum News {
    Status(Told),
    Line(String),
}

impl News {
    /// Tells whether nothing follows.
    pub(super) fn is_end(&self) -> bool {
        matches!(self, Self::Status(status)
            if status.major == StatusMajor::Session
                && matches!(status.minor, StatusMinor::ProcStopped | StatusMinor::ProcKilled))
    }
}

/// What is told of a session from now on.
#[derive(Debug)]
pub(super) struct Follow {
    signals: BusSignals,
    log_service: Option<String>,
    path: String,
}

/// Has what is told of a session forwarded to us.
pub(super) async fn follow(bus: &Bus, session: &Session) -> Result<Follow, Failure> {
    let signals = BusSignals::new(bus);
    session
        .tell("LogForward", Body::of((true,)))
        .await
        .map_err(failed("its log cannot be had"))?;
    Ok(Follow {
        signals,
        log_service: bus.owner(service::LOG).await,
        path: session.path.clone(),
    })
}

impl Follow {
    /// Waits for the next; `None` once the bus is gone. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<News> {
        loop {
            let signal = self.signals.next().await?;
            let is_ours = signal.path == self.path
                && signal.interface == interface::BACKENDS
                && Some(&signal.sender) == self.log_service.as_ref();
            if is_ours && let Some(news) = read_news(&signal) {
                return Some(news);
            }
        }
    }
}

fn read_news(signal: &Received) -> Option<News> {
    let (first, second, text) = signal.args::<(u32, u32, String)>()?;
    match signal.member.as_str() {
        "StatusChange" => Told::from_parts(first, second, text).map(News::Status),
        "Log" => Some(News::Line(text)),
        _ => None,
    }
}

/// Shows what was told.
pub(super) fn show(news: &News, output: Output) {
    match news {
        News::Status(status) => {
            let (major, minor, message) = status.parts();
            let text = printable(&words(status));
            output.notice(
                "status",
                &text,
                json!({ "major": major, "minor": minor, "message": message }),
            );
        }
        News::Line(line) => output.notice("log", &printable(line), json!({ "message": line })),
    }
}
