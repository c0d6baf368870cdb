//! Properties of sessions: what is kept here, and what the client process is asked for.

use std::{collections::HashMap, sync::Arc};

use zbus::OwnedVariant;

use super::{
    manager::{Manager, object_path},
    session::{Right, Session, Stage},
};
use crate::{
    bus::{Access, Value},
    client::NO_DCO,
    constants::MAX_VERBOSITY,
    error::CallError,
    names::{client_pid, interface, path},
};

impl Manager {
    pub(super) async fn property(self: Arc<Self>, access: &Access) -> Result<Value, CallError> {
        let (path, name) = (access.path.as_str(), access.property.name);
        let (kept, client) = self.with(path, |session| {
            session.check(&access.caller, Right::Read)?;
            let client = session.unique.clone().filter(|_| session.stage == Stage::Open);
            Ok((kept(session, name)?, client))
        })?;
        let (interface, property) = match (kept, access.interface.name) {
            (Some(value), _) => return Ok(value),
            (None, interface::SESSION1) => (interface::CLIENT1, name),
            (None, _) if name == "connected_to" => (interface::BACKENDS, "connection"),
            (None, _) => (interface::BACKENDS, name),
        };
        let Some(client) = client else {
            return nothing(name);
        };
        match self
            .bus
            .property::<OwnedVariant>(&client, path::CLIENT, interface, property)
            .await
        {
            Ok(value) if name == "connected_to" => connected_to(value),
            Ok(value) => Ok(value.into()),
            Err(error) if error.is_unanswered() => Err(self.on_unanswered(path, &client).await),
            Err(error) => Err(CallError::request(error.to_string())),
        }
    }

    pub(super) async fn set_property(
        self: Arc<Self>,
        access: &Access,
        value: Value,
    ) -> Result<(), CallError> {
        let (path, name) = (access.path.as_str(), access.property.name);
        let right = match name {
            "public_access" | "restrict_log_access" => Right::Own,
            _ => Right::Set,
        };
        self.with(path, |session| {
            session.check(&access.caller, right)?;
            match (name, &value) {
                ("public_access", Value::Bool(flag)) => session.record.public_access = *flag,
                ("restrict_log_access", Value::Bool(flag)) => session.record.restrict_log_access = *flag,
                ("dco", Value::Bool(false)) => {}
                ("dco", _) => return Err(CallError::method(NO_DCO)),
                ("log_verbosity", Value::U32(level)) if *level <= MAX_VERBOSITY => {
                    session.record.log_verbosity = *level;
                }
                _ => return Err(CallError::method("Incorrect log level")),
            }
            Ok(())
        })?;
        self.save(path);
        match name {
            "public_access" => self.tell_users(path).await,
            "log_verbosity" => {
                if let Some(client) = self.client_of(path) {
                    let (on, name) = (interface::BACKENDS, "log_level");
                    let set = self
                        .bus
                        .set_property(&client, path::CLIENT, on, name, value)
                        .await;
                    set.map_err(|error| CallError::request(error.to_string()))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn client_of(&self, path: &str) -> Option<String> {
        self.lock().sessions.get(path)?.unique.clone()
    }
}

/// What the session manager knows itself; `None` for what the client process knows.
fn kept(session: &Session, name: &str) -> Result<Option<Value>, CallError> {
    let record = &session.record;
    Ok(Some(match name {
        "owner" => record.owner.into(),
        "session_created" => record.created.into(),
        "acl" => record.acl.iter().copied().collect::<Vec<u32>>().into(),
        "public_access" => record.public_access.into(),
        "status" => session.status.parts().into(),
        "last_log" => last_log(session),
        "dco" => false.into(),
        "config_path" => Value::ObjectPath(object_path(&record.config_path)?),
        "config_name" => record.config_name.clone().into(),
        "backend_pid" => client_pid(&record.client).unwrap_or_default().into(),
        "restrict_log_access" => record.restrict_log_access.into(),
        "log_forwards" => {
            let proxies = session.forwards.values().map(|proxy| object_path(proxy));
            proxies.collect::<Result<Vec<_>, _>>()?.into()
        }
        "log_verbosity" => record.log_verbosity.into(),
        _ => return Ok(None),
    }))
}

/// What there is to say while no client process is there.
fn nothing(name: &str) -> Result<Value, CallError> {
    Ok(match name {
        "statistics" => HashMap::<String, i64>::new().into(),
        "device_path" => Value::ObjectPath(object_path("/")?),
        "connected_to" => (String::new(), String::new(), 0_u32).into(),
        "proxies" | "inner_addresses" | "dns_servers" => Vec::<String>::new().into(),
        _ => String::new().into(),
    })
}

/// Protocol, address and port, without the name of the host.
fn connected_to(value: OwnedVariant) -> Result<Value, CallError> {
    let read = <(String, String, String, u32)>::try_from(Value::from(value));
    let (protocol, _host, address, port) = read.map_err(|error| CallError::request(error.to_string()))?;
    Ok((protocol, address, port).into())
}

fn last_log(session: &Session) -> Value {
    let (group, category, text) = session.last_log.clone().unwrap_or_default();
    let mut line: HashMap<String, Value> = HashMap::new();
    line.insert("log_group".into(), group.into());
    line.insert("log_category".into(), category.into());
    line.insert("log_message".into(), text.into());
    line.into()
}
