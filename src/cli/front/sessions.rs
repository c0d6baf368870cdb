//! `tunless sessions`: what runs, and steering it.

use std::fmt::Write as _;

use anyhow::anyhow;
use serde_json::json;
use tunless_dbus::{
    bus::{Body, Bus},
    constants::{Status as Told, StatusMinor},
    front::{self, Session},
};

use super::{all_as_json, changes, failed, find, is_on, start, status::words, uid_body};
use crate::{
    cli::{
        exit::{Failure, Status},
        flags::front::{Access, OfSession, Sessions, SessionsWhat},
        output::Output,
    },
    driver::shutdown::Signals,
};

pub(in crate::cli) async fn run(args: &Sessions, output: Output) -> Result<Status, Failure> {
    let bus = find(&args.on).await?;
    match &args.what {
        SessionsWhat::Start(args) => return start::run(&bus, args, output).await,
        SessionsWhat::Auth(which) => {
            let session = one(&bus, which).await?;
            return start::go_on(&bus, &session, output).await;
        }
        SessionsWhat::List => list(&bus, output).await?,
        SessionsWhat::Stats(which) => stats(&one(&bus, which).await?, output).await?,
        SessionsWhat::Pause(which) => {
            let body = Body::of(("asked by `tunless sessions pause`".to_owned(),));
            tell(&bus, which, "Pause", body).await?;
        }
        SessionsWhat::Resume(which) => tell(&bus, which, "Resume", Body::none()).await?,
        SessionsWhat::Restart(which) => tell(&bus, which, "Restart", Body::none()).await?,
        SessionsWhat::Disconnect(which) => tell(&bus, which, "Disconnect", Body::none()).await?,
        SessionsWhat::Log { session, level } => log(&bus, session, *level, output).await?,
        SessionsWhat::Acl { session, access } => acl(&one(&bus, session).await?, access, output).await?,
        SessionsWhat::Cleanup => cleanup(&bus, output).await?,
    }
    Ok(Status::Done)
}

async fn one(bus: &Bus, which: &OfSession) -> Result<Session, Failure> {
    let found = front::Sessions::new(bus).find(&which.session).await;
    found.map_err(|error| anyhow!(error).into())
}

async fn tell(bus: &Bus, which: &OfSession, method: &str, body: Body) -> Result<(), Failure> {
    let session = one(bus, which).await?;
    session.tell(method, body).await.map_err(failed("it was refused"))
}

async fn list(bus: &Bus, output: Output) -> Result<(), Failure> {
    for session in front::Sessions::new(bus)
        .all()
        .await
        .map_err(failed("cannot list them"))?
    {
        // One that ends meanwhile is not worth a word.
        let Ok(known) = session.properties(false).await else {
            continue;
        };
        let (known, own) = (
            all_as_json(&known),
            all_as_json(&session.properties(true).await.unwrap_or_default()),
        );
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let status = Told::from_parts(
            u32::try_from(known["status"][0].as_u64().unwrap_or(0)).unwrap_or(0),
            u32::try_from(known["status"][1].as_u64().unwrap_or(0)).unwrap_or(0),
            text(&known["status"][2]),
        );
        let status = status.unwrap_or(Told::unset());
        let mut shown = format!("{}  {}", text(&known["config_name"]), words(&status));
        let device = text(&known["device_name"]);
        if !device.is_empty() {
            let to = &known["connected_to"];
            // Writing to a string cannot fail.
            let _written = write!(shown, "  {device} to {}/{}:{}", text(&to[0]), text(&to[1]), to[2]);
        }
        if let Some(proxies) = own["proxies"].as_array().filter(|proxies| !proxies.is_empty()) {
            let proxies: Vec<_> = proxies.iter().map(&text).collect();
            let _written = write!(shown, "  proxy {}", proxies.join(", "));
        }
        let _written = write!(shown, "\n  {}", session.path);
        output.say(
            "session",
            &shown,
            json!({ "path": session.path, "properties": known, "offers": own }),
        );
    }
    Ok(())
}

async fn stats(session: &Session, output: Output) -> Result<(), Failure> {
    let known = all_as_json(
        &session
            .properties(false)
            .await
            .map_err(failed("cannot read it"))?,
    );
    let counters = known["statistics"].as_object().cloned().unwrap_or_default();
    let lines: Vec<_> = counters
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    output.say(
        "statistics",
        &lines.join("\n"),
        json!({ "path": session.path, "statistics": counters }),
    );
    Ok(())
}

async fn log(bus: &Bus, which: &OfSession, level: Option<u32>, output: Output) -> Result<(), Failure> {
    let session = one(bus, which).await?;
    if let Some(level) = level {
        session
            .set("log_verbosity", level.into())
            .await
            .map_err(failed("the level was refused"))?;
    }
    let mut told = start::follow(bus, &session).await?;
    let mut signals = Signals::new()?;
    loop {
        tokio::select! {
            _signal = signals.recv() => break,
            next = told.next() => match next {
                Some(news) => {
                    start::show(&news, output);
                    if news.is_end() {
                        return Ok(());
                    }
                }
                None => return Err(anyhow!("the bus is gone").into()),
            },
        }
    }
    // It may have ended meanwhile.
    if let Err(error) = session.tell("LogForward", Body::of((false,))).await {
        tracing::debug!(%error, "the session is gone");
    }
    Ok(())
}

async fn acl(session: &Session, access: &Access, output: Output) -> Result<(), Failure> {
    for (method, uid) in changes(access)? {
        session
            .tell(method, uid_body(uid))
            .await
            .map_err(failed("it was refused"))?;
    }
    if let Some(flag) = access.public {
        let set = session.set("public_access", is_on(flag).into()).await;
        set.map_err(failed("it was refused"))?;
    }
    let known = all_as_json(
        &session
            .properties(false)
            .await
            .map_err(failed("cannot read it"))?,
    );
    let text = format!(
        "owner {}, granted {}, everybody {}",
        known["owner"], known["acl"], known["public_access"]
    );
    output.say("acl", &text, json!({ "path": session.path, "properties": known }));
    Ok(())
}

async fn cleanup(bus: &Bus, output: Output) -> Result<(), Failure> {
    for session in front::Sessions::new(bus)
        .all()
        .await
        .map_err(failed("cannot list them"))?
    {
        let status = session.status().await.unwrap_or(Told::unset());
        let is_over = matches!(
            status.minor,
            StatusMinor::Unset
                | StatusMinor::ConnFailed
                | StatusMinor::ConnAuthFailed
                | StatusMinor::ConnDisconnected
                | StatusMinor::ConnDone
        );
        if is_over && session.tell("Disconnect", Body::none()).await.is_ok() {
            output.say(
                "removed",
                &format!("removed {}", session.path),
                json!({ "path": session.path }),
            );
        }
    }
    Ok(())
}
