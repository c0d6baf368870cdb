//! How a client process finds its session, and what it does when nobody wants it.

use std::time::Duration;

use zbus::{OwnedVariant, Variant};

use super::program::{Profile, Secret};
use crate::{
    bus::{Body, Bus, RemoteError},
    configuration::{OverrideValue, Overrides},
    names::{interface, path, service},
};

/// Longest wait for a session manager that knows the token.
pub(super) const REGISTRATION_DEADLINE: Duration = Duration::from_secs(15);
/// Longest life without a session manager: nobody could stop the tunnel.
pub(super) const ORPHAN_DEADLINE: Duration = Duration::from_mins(1);
/// Pause between attempts to wake a session manager that is gone.
pub(super) const WAKE_PAUSE: Duration = Duration::from_secs(2);

/// Says that this process is ready for the session of `token`.
pub(super) async fn request(bus: &Bus, name: &str, token: &str) {
    let body = Body::of((name.to_owned(), token.to_owned()));
    let to = Some(service::SESSIONS);
    bus.signal(to, path::CLIENT, interface::BACKENDS, "RegistrationRequest", body)
        .await;
}

/// Tells the log service what this process will send.
pub(super) async fn attach(bus: &Bus, session_path: Option<&str>) {
    let (to, on) = (service::LOG, interface::LOG);
    for interface in [interface::BACKENDS, interface::SESSIONS] {
        let body = Body::of((interface.to_owned(),));
        if let Err(error) = bus.call(to, path::LOG, on, "Attach", body).await {
            tracing::debug!(%error, "the log service does not take our lines");
        }
    }
    let Some(session) = session_path.and_then(|path| zbus::OwnedObjectPath::try_from(path).ok()) else {
        return;
    };
    let body = Body::of((session, interface::BACKENDS.to_owned()));
    if let Err(error) = bus.call(to, path::LOG, on, "AssignSession", body).await {
        tracing::debug!(%error, "the log service does not know our session");
    }
}

/// Takes that back.
pub(super) async fn detach(bus: &Bus) {
    for interface in [interface::BACKENDS, interface::SESSIONS] {
        let body = Body::of((interface.to_owned(),));
        if let Err(error) = bus
            .call(service::LOG, path::LOG, interface::LOG, "Detach", body)
            .await
        {
            tracing::debug!(%error, "the log service did not know us");
        }
    }
}

/// Reads a profile at the configuration service. The text comes last: that is what counts as a use.
///
/// # Errors
/// Where the service does not give it.
pub(super) async fn fetch(bus: &Bus, config_path: &str) -> Result<Profile, RemoteError> {
    let (to, on) = (service::CONFIGURATION, interface::CONFIGURATION);
    let name: String = bus.property(to, config_path, on, "name").await?;
    let overrides: OwnedVariant = bus.property(to, config_path, on, "overrides").await?;
    let text: String = bus.ask(to, config_path, on, "Fetch", Body::none()).await?;
    Ok(Profile {
        name,
        text: Secret::new(text),
        overrides: read_overrides(&overrides),
    })
}

/// Tells whether the profile wants the kernel's data channel.
pub(super) async fn wants_dco(bus: &Bus, config_path: &str) -> bool {
    let (to, on) = (service::CONFIGURATION, interface::CONFIGURATION);
    bus.property::<bool>(to, config_path, on, "dco")
        .await
        .unwrap_or(false)
}

/// Reads a dictionary of overrides.
pub(crate) fn read_overrides(value: &OwnedVariant) -> Overrides {
    let mut overrides = Overrides::new();
    let Variant::Dict(dict) = &**value else {
        return overrides;
    };
    for (key, value) in dict.iter() {
        let value = if let Variant::Variant(inner) = value {
            inner
        } else {
            value
        };
        let read = if let Variant::Bool(flag) = value {
            OverrideValue::Flag(*flag)
        } else if let Variant::Str(text) = value {
            OverrideValue::Text(text.to_string())
        } else {
            continue;
        };
        if let Variant::Str(key) = key {
            overrides.insert(key.to_string(), read);
        }
    }
    overrides
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn overrides_are_read_from_a_dictionary_of_variants() {
        let mut sent: HashMap<String, Variant<'static>> = HashMap::new();
        sent.insert("server-override".into(), "host".into());
        sent.insert("persist-tun".into(), true.into());
        let value = Variant::from(sent).try_into_owned().unwrap();
        let read = read_overrides(&value);
        assert_eq!(
            read.get("server-override"),
            Some(&OverrideValue::Text("host".into()))
        );
        assert_eq!(read.get("persist-tun"), Some(&OverrideValue::Flag(true)));
    }
}
