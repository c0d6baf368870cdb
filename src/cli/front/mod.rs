//! `tunless configs` and `tunless sessions`: a front end of our own for the D-Bus services. It speaks nothing but the
//! API that all front ends speak.

mod configs;
mod sessions;
mod start;
mod status;

use std::{collections::HashMap, path::Path};

use anyhow::{Context as _, anyhow};
use serde_json::{Value as Json, json};
use tunless_dbus::{
    bus::{Body, Bus, RemoteError},
    front,
};

use super::{
    flags::front::{Access, OnBus, OnOff},
    profile,
};
use crate::{
    cli::exit::Failure,
    services::{inline, private},
};

pub(super) use self::{configs::run as configs, sessions::run as sessions};

/// The bus with the services.
async fn find(on: &OnBus) -> Result<Bus, Failure> {
    let private = private::address().ok();
    let found = front::find(on.bus.as_ref(), private).await;
    found.map_err(|error| anyhow!(error).into())
}

/// A profile with its files inside, and the name that it has by itself.
fn read(path: &Path) -> Result<(String, zeroize::Zeroizing<String>), Failure> {
    let (text, folder) = profile::text_and_folder(path)?;
    let file = path.display().to_string();
    let mut files = |name: &str| profile::read_named(&folder, name);
    let text = inline::inlined(&file, &text, &mut files).map_err(anyhow::Error::msg)?;
    let name = path
        .file_name()
        .map_or_else(|| file.clone(), |name| name.to_string_lossy().into_owned());
    Ok((name, text))
}

/// A user by name or number.
fn user(word: &str) -> Result<u32, Failure> {
    if let Ok(uid) = word.parse() {
        return Ok(uid);
    }
    let found =
        nix::unistd::User::from_name(word).with_context(|| format!("cannot look up the user {word:?}"))?;
    let found = found.ok_or_else(|| Failure::usage(anyhow!("there is no user {word:?} on this host")))?;
    Ok(found.uid.as_raw())
}

/// Who may use something, in calls: method and user.
fn changes(access: &Access) -> Result<Vec<(&'static str, u32)>, Failure> {
    let mut changes = Vec::new();
    for word in &access.grant {
        changes.push(("AccessGrant", user(word)?));
    }
    for word in &access.revoke {
        changes.push(("AccessRevoke", user(word)?));
    }
    Ok(changes)
}

fn is_on(flag: OnOff) -> bool {
    flag == OnOff::On
}

fn uid_body(uid: u32) -> Body {
    Body::of((uid,))
}

/// A failure with what was tried.
fn failed(what: &str) -> impl Fn(RemoteError) -> Failure {
    move |error| anyhow!(error).context(what.to_owned()).into()
}

/// A property as JSON; types that no property has are shown as text.
fn as_json(value: &tunless_dbus::bus::Value) -> Json {
    use tunless_dbus::bus::Value;
    match value {
        Value::Bool(flag) => json!(flag),
        Value::U16(number) => json!(number),
        Value::U32(number) => json!(number),
        Value::U64(number) => json!(number),
        Value::I64(number) => json!(number),
        Value::I32(number) => json!(number),
        Value::Str(text) => json!(text.as_str()),
        Value::ObjectPath(path) => json!(path.as_str()),
        Value::Variant(inner) => as_json(inner),
        Value::Array(array) => array.inner().iter().map(as_json).collect(),
        Value::Structure(fields) => fields.fields().iter().map(as_json).collect(),
        Value::Dict(dict) => {
            let pairs = dict.iter().map(|(key, value)| {
                let key = as_json(key);
                (
                    key.as_str().map_or_else(|| key.to_string(), str::to_owned),
                    as_json(value),
                )
            });
            Json::Object(pairs.collect())
        }
        Value::U8(_) | Value::I16(_) | Value::F64(_) | Value::Signature(_) | Value::Fd(_) => {
            json!(format!("{value:?}"))
        }
    }
}

/// All properties as an object.
fn all_as_json(properties: &HashMap<String, tunless_dbus::bus::Value>) -> Json {
    let pairs = properties
        .iter()
        .map(|(key, value)| (key.clone(), as_json(value)));
    Json::Object(pairs.collect())
}
