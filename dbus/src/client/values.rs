//! Values of the client process's properties.

use std::collections::HashMap;

use zbus::Variant;

use super::program::Connected;
use crate::{bus::Value, constants::LogGroup, error::CallError};

pub(super) fn object_path(path: &str) -> Value {
    zbus::ObjectPath::try_from(path.to_owned()).map_or_else(|_bad| root_path(), Value::ObjectPath)
}

fn root_path() -> Value {
    Value::ObjectPath(zbus::ObjectPath::from_static_str_unchecked("/"))
}

/// Counters in their order; a dictionary keeps it on the wire.
pub(super) fn statistics(counts: &[(&'static str, i64)]) -> Result<Value, CallError> {
    let mut dict = zbus::Dict::new(&zbus::Signature::Str, &zbus::Signature::I64);
    for (name, count) in counts {
        dict.add((*name).to_owned(), *count)
            .map_err(|error| CallError::method(error.to_string()))?;
    }
    Ok(Value::Dict(dict))
}

pub(super) fn last_log(line: Option<&(u32, String)>, token: &str) -> Value {
    let (group, category, message) = match line {
        Some((category, text)) => (LogGroup::Client as u32, *category, text.clone()),
        None => (LogGroup::Undefined as u32, 0, String::new()),
    };
    let mut map: HashMap<String, Variant<'static>> = HashMap::new();
    map.insert("log_group".into(), group.into());
    map.insert("log_category".into(), category.into());
    map.insert("log_message".into(), message.into());
    map.insert("log_session_token".into(), token.to_owned().into());
    map.into()
}

pub(super) fn connection(up: Option<&Connected>) -> Value {
    match up {
        Some(up) => (
            up.protocol.clone(),
            up.host.clone(),
            up.address.clone(),
            u32::from(up.port),
        )
            .into(),
        None => (String::new(), String::new(), String::new(), 0_u32).into(),
    }
}

/// What the tunnel offers on this host.
pub(super) fn offer(property: &str, up: Option<&Connected>) -> Value {
    let list = |items: Option<Vec<String>>| Value::from(items.unwrap_or_default());
    let text = |text: Option<&str>| Value::from(text.unwrap_or_default().to_owned());
    match property {
        "proxies" => list(up.map(|up| up.proxies.clone())),
        "pac" => text(up.map(|up| up.pac.as_str())),
        "status_page" => text(up.map(|up| up.status_page.as_str())),
        "device_kind" => text(up.map(|up| up.device_kind)),
        "inner_addresses" => list(up.map(|up| up.addresses.iter().map(ToString::to_string).collect())),
        _ => list(up.map(|up| up.dns_servers.iter().map(ToString::to_string).collect())),
    }
}
