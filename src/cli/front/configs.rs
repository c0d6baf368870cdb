//! `tunless configs`: stored profiles.

use anyhow::anyhow;
use serde_json::json;
use tunless_dbus::{
    bus::{Body, Value},
    front::Profiles,
    names::path,
};

use super::{all_as_json, changes, failed, find, is_on, read, uid_body};
use crate::cli::{
    exit::{Failure, Status},
    flags::front::{Access, Configs, ConfigsWhat, Import},
    output::Output,
};

pub(in crate::cli) async fn run(args: &Configs, output: Output) -> Result<Status, Failure> {
    let profiles = Profiles::new(&find(&args.on).await?);
    match &args.what {
        ConfigsWhat::Import(args) => import(&profiles, args, output).await?,
        ConfigsWhat::List => list(&profiles, output).await?,
        ConfigsWhat::Show { profile } => show(&profiles, &one(&profiles, profile).await?, output).await?,
        ConfigsWhat::Set { profile, key, value } => {
            let value = match value.as_str() {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                text => Value::from(text.to_owned()),
            };
            let path = one(&profiles, profile).await?;
            let body = Body::of((key.clone(), value));
            profiles
                .tell(&path, "SetOverride", body)
                .await
                .map_err(failed("cannot set it"))?;
        }
        ConfigsWhat::Unset { profile, key } => {
            let path = one(&profiles, profile).await?;
            let body = Body::of((key.clone(),));
            profiles
                .tell(&path, "UnsetOverride", body)
                .await
                .map_err(failed("cannot unset it"))?;
        }
        ConfigsWhat::Rename { profile, name } => {
            let path = one(&profiles, profile).await?;
            let name = Value::from(name.clone());
            profiles
                .set(&path, "name", name)
                .await
                .map_err(failed("cannot rename it"))?;
        }
        ConfigsWhat::Seal { profile } => simple(&profiles, profile, "Seal").await?,
        ConfigsWhat::Remove { profile } => simple(&profiles, profile, "Remove").await?,
        ConfigsWhat::Acl { profile, access } => acl(&profiles, profile, access, output).await?,
    }
    Ok(Status::Done)
}

/// The one profile with this name or path.
pub(super) async fn one(profiles: &Profiles, word: &str) -> Result<String, Failure> {
    if word.starts_with(path::CONFIGURATION) {
        return Ok(word.to_owned());
    }
    let named = profiles.named(word).await.map_err(failed("cannot look it up"))?;
    match &named[..] {
        [one] => Ok(one.clone()),
        [] => Err(anyhow!("no stored profile is called {word:?}; `tunless configs list` shows them").into()),
        several => Err(anyhow!(
            "{} stored profiles are called {word:?}; name one by its path, which `tunless configs list` shows",
            several.len()
        )
        .into()),
    }
}

async fn simple(profiles: &Profiles, profile: &str, method: &str) -> Result<(), Failure> {
    let path = one(profiles, profile).await?;
    profiles
        .tell(&path, method, Body::none())
        .await
        .map_err(failed("it was refused"))
}

async fn import(profiles: &Profiles, args: &Import, output: Output) -> Result<(), Failure> {
    let (file, text) = read(&args.file)?;
    let name = args.name.clone().unwrap_or(file);
    let imported = profiles
        .import(&name, &text, args.single_use, args.persistent)
        .await;
    let path = imported.map_err(failed("the profile was not stored"))?;
    for tag in &args.tag {
        let body = Body::of((tag.clone(),));
        profiles
            .tell(&path, "AddTag", body)
            .await
            .map_err(failed("the tag was refused"))?;
    }
    output.say(
        "imported",
        &format!("stored as {name}: {path}"),
        json!({ "name": name, "path": path }),
    );
    if let Err(why) = profiles.tell(&path, "Validate", Body::none()).await {
        let text = format!("it cannot be used yet: {why}");
        output.notice(
            "invalid",
            &text,
            json!({ "path": path, "reason": why.to_string() }),
        );
    }
    Ok(())
}

async fn list(profiles: &Profiles, output: Output) -> Result<(), Failure> {
    for path in profiles.all().await.map_err(failed("cannot list them"))? {
        let known = all_as_json(
            &profiles
                .properties(&path)
                .await
                .map_err(failed("cannot read it"))?,
        );
        let name = known["name"].as_str().unwrap_or("?").to_owned();
        let word = |key: &str, word: &'static str| known[key].as_bool().unwrap_or(false).then_some(word);
        let words: Vec<_> = [
            word("persistent", "persistent"),
            word("single_use", "for one use"),
            word("readonly", "sealed"),
            word("public_access", "for everybody"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let used = known["used_count"].as_u64().unwrap_or(0);
        let words = std::iter::once("").chain(words).collect::<Vec<_>>().join(", ");
        let text = format!("{name}  used {used} times{words}\n  {path}");
        output.say("config", &text, json!({ "path": path, "properties": known }));
    }
    Ok(())
}

async fn show(profiles: &Profiles, path: &str, output: Output) -> Result<(), Failure> {
    let mut known = all_as_json(
        &profiles
            .properties(path)
            .await
            .map_err(failed("cannot read it"))?,
    );
    if let Some(password) = known.pointer_mut("/overrides/proxy-password") {
        *password = json!("…");
    }
    let text = profiles.text(path).await.map_err(failed("cannot read it"))?;
    let text = without_secrets(&text);
    let overrides = known["overrides"].as_object().cloned().unwrap_or_default();
    let mut shown: Vec<_> = overrides
        .iter()
        .map(|(key, value)| format!("# {key} = {value}"))
        .collect();
    shown.push(text.trim_end().to_owned());
    output.say(
        "config",
        &shown.join("\n"),
        json!({ "path": path, "properties": known, "text": text }),
    );
    Ok(())
}

/// The text with the insides of keys and passwords left out.
fn without_secrets(text: &str) -> String {
    const SECRET: [&str; 9] = [
        "key",
        "tls-auth",
        "tls-crypt",
        "tls-crypt-v2",
        "auth-user-pass",
        "http-proxy-user-pass",
        "secret",
        "pkcs12",
        "askpass",
    ];
    let (mut shown, mut until) = (String::new(), None);
    for line in text.lines() {
        if let Some(end) = &until {
            if line.trim() == end {
                shown.extend(["…\n", line, "\n"]);
                until = None;
            }
            continue;
        }
        shown.push_str(line);
        shown.push('\n');
        let name = line
            .trim()
            .strip_prefix('<')
            .and_then(|rest| rest.strip_suffix('>'));
        until = name
            .filter(|name| SECRET.contains(name))
            .map(|name| format!("</{name}>"));
    }
    shown
}

async fn acl(profiles: &Profiles, profile: &str, access: &Access, output: Output) -> Result<(), Failure> {
    let path = one(profiles, profile).await?;
    for (method, uid) in changes(access)? {
        profiles
            .tell(&path, method, uid_body(uid))
            .await
            .map_err(failed("it was refused"))?;
    }
    if let Some(flag) = access.public {
        let set = profiles.set(&path, "public_access", is_on(flag).into()).await;
        set.map_err(failed("it was refused"))?;
    }
    let known = all_as_json(
        &profiles
            .properties(&path)
            .await
            .map_err(failed("cannot read it"))?,
    );
    let text = format!(
        "owner {}, granted {}, everybody {}",
        known["owner"], known["acl"], known["public_access"]
    );
    output.say("acl", &text, json!({ "path": path, "properties": known }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_passwords_are_not_shown() {
        let text =
            "client\n<ca>\nCA\n</ca>\n<key>\nSECRET\n</key>\n<auth-user-pass>\nann\npw\n</auth-user-pass>\n";
        let shown = without_secrets(text);
        assert!(
            shown.contains("CA\n") && !shown.contains("SECRET") && !shown.contains("pw"),
            "{shown}"
        );
        assert!(shown.contains("<key>\n…\n</key>\n"), "{shown}");
    }
}
