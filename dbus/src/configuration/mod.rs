//! The configuration service: stored profiles, on the bus name `net.openvpn.v3.configuration`.
//!
//! A profile is what was imported, as options, and what was set beside it. Its text holds keys and passwords: it is
//! wiped when dropped and in no log, and only those get it whom the rules name. `dco` can be read and set to `false`;
//! `true` is refused, since data is not carried by the kernel.
//!
//! Files: `table` the interfaces, `main_object` and `profile_object` their methods, `registry` all profiles, `profile`
//! one of them, `access` who may do what, `option` what a profile is made of, `overrides` what is set beside it,
//! `render` text and JSON, `record` and `store` the files.

mod access;
#[cfg(test)]
mod fixtures;
mod main_object;
mod option;
mod overrides;
mod profile;
mod profile_object;
mod record;
mod registry;
mod render;
mod store;
mod table;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::unistd::Uid;
use tokio_util::sync::CancellationToken;
use zbus::OwnedObjectPath;

use self::{access::Who, profile::Profile, registry::Registry, store::Store};
pub use self::{
    option::{ProfileOption, ReadProfile},
    overrides::{OverrideValue, Overrides},
    render::{is_remark, text as render_text},
};
use crate::{
    bus::{Access, Body, Bus, BusError, Call, Caller, ServeEnd, Service, Value, interface::Interface, serve},
    constants::{LogCategory, LogGroup, ProfileEvent},
    error::CallError,
    log::LogSender,
    names::{VERSION, interface, path, service},
};

/// How the service is run.
#[derive(Clone)]
pub struct Options {
    /// Folder of persistent profiles; without one, none are taken.
    pub state_dir: Option<PathBuf>,
    /// How long it stays while nobody needs it; for ever without one.
    pub idle: Option<Duration>,
    /// Splits profiles into options.
    pub reader: Arc<dyn ReadProfile>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("state_dir", &self.state_dir)
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

/// Serves profiles until the end.
///
/// # Errors
/// Where the folder cannot be used, or the name cannot be had.
pub async fn run(bus: &Bus, options: Options, shutdown: &CancellationToken) -> Result<ServeEnd, BusError> {
    let registry = Registry::default();
    let mut warnings = Vec::new();
    let store = match options.state_dir {
        Some(folder) => {
            let failed = |source| BusError::Folder {
                folder: folder.clone(),
                source,
            };
            let store = Store::open(&folder).map_err(failed)?;
            let (stored, left_out) = store.load().map_err(failed)?;
            registry.restore(stored);
            warnings = left_out;
            Some(Arc::new(store))
        }
        None => None,
    };
    // Again once the log service listens; it may not be there yet, or never.
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    bus.watch_owners().await?;
    let configuration = Arc::new(Configuration {
        bus: bus.clone(),
        log: LogSender::new(
            bus,
            path::CONFIGURATION,
            interface::CONFIGURATION,
            LogGroup::ConfigMgr,
        ),
        registry,
        store,
        reader: options.reader,
        service_uid: Uid::effective().as_raw(),
        warnings: Mutex::new(warnings),
    });
    serve(bus, configuration, service::CONFIGURATION, options.idle, shutdown).await
}

/// The service.
struct Configuration {
    bus: Bus,
    log: LogSender,
    registry: Registry,
    store: Option<Arc<Store>>,
    reader: Arc<dyn ReadProfile>,
    /// The user that the services run as.
    service_uid: u32,
    /// What was odd about the files; told once the log service listens to us.
    warnings: Mutex<Vec<String>>,
}

impl Configuration {
    fn who(&self, caller: &Caller) -> Who {
        Who {
            uid: caller.uid,
            service: self.service_uid,
        }
    }

    /// The profile at `path`, which was there when the call came.
    fn profile(&self, path: &str) -> Result<Arc<Profile>, CallError> {
        self.registry.find(path).ok_or_else(|| gone(path))
    }

    async fn attach(&self) {
        let was_there = self.bus.owner(service::LOG).await.is_some();
        self.log.attach().await;
        if !was_there {
            // This is done again when it comes.
            return;
        }
        let warnings = std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner));
        for warning in warnings {
            self.log.log(LogCategory::Warn, &warning).await;
        }
    }

    /// Writes a persistent profile's file.
    async fn save(&self, profile: &Arc<Profile>) -> Result<(), CallError> {
        let Some(store) = self.store.clone().filter(|_| profile.origin.persistent) else {
            return Ok(());
        };
        let profile = Arc::clone(profile);
        let path = profile.origin.path.clone();
        let written = on_disk(move || store.save(&profile)).await;
        if let Err(error) = written {
            let text = format!("the profile {path} could not be stored: {error}");
            self.log.log(LogCategory::Error, &text).await;
            return Err(CallError::request(format!(
                "The configuration profile could not be stored, so that this holds until the service ends: {error}"
            )));
        }
        Ok(())
    }

    /// Removes the file of a profile that was taken out, and tells everybody.
    async fn bury(&self, profile: Arc<Profile>) {
        let (path, owner) = (profile.origin.path.clone(), profile.settings().owner);
        if let Some(store) = self.store.clone().filter(|_| profile.origin.persistent)
            && let Err(error) = on_disk(move || store.remove(&profile)).await
        {
            let text = format!("the file of the removed profile {path} is still there: {error}");
            self.log.log(LogCategory::Error, &text).await;
        }
        self.announce(&path, ProfileEvent::Destroyed, owner).await;
    }

    async fn announce(&self, profile: &str, event: ProfileEvent, owner: u32) {
        match object_path(profile) {
            Ok(profile) => {
                let body = Body::of((profile.into_inner(), event as u16, owner));
                let (name, interface) = ("ConfigurationManagerEvent", interface::CONFIGURATION);
                self.bus
                    .signal(None, path::CONFIGURATION, interface, name, body)
                    .await;
            }
            Err(error) => tracing::error!(%error, "a profile has no object path"),
        }
    }
}

impl Service for Configuration {
    fn interfaces(&self, path: &str) -> Option<&'static [&'static Interface]> {
        if path == path::CONFIGURATION {
            return Some(table::ON_MAIN);
        }
        self.registry.find(path).map(|_| table::ON_PROFILE)
    }

    fn paths(&self) -> Vec<String> {
        let mut paths = self.registry.paths();
        paths.push(path::CONFIGURATION.to_owned());
        paths
    }

    async fn call(self: Arc<Self>, call: Call) -> Result<Body, CallError> {
        if call.path == path::CONFIGURATION {
            self.call_main(&call).await
        } else {
            self.call_profile(&call).await
        }
    }

    async fn get(self: Arc<Self>, access: Access) -> Result<Value, CallError> {
        if access.path == path::CONFIGURATION {
            return Ok(Value::from(VERSION));
        }
        let profile = self.profile(&access.path)?;
        profile.property(self.who(&access.caller), access.property.name)
    }

    async fn set(self: Arc<Self>, access: Access, value: Value) -> Result<(), CallError> {
        let profile = self.profile(&access.path)?;
        profile.set_property(self.who(&access.caller), access.property.name, value)?;
        self.save(&profile).await
    }

    fn on_owner(self: &Arc<Self>, name: &str, owner: Option<&str>) {
        // The log service takes lines from names that it knows: ours must be there, and so must it.
        let ours = name == service::CONFIGURATION && owner == Some(self.bus.unique_name().as_str());
        if ours || (name == service::LOG && owner.is_some()) {
            let configuration = Arc::clone(self);
            tokio::spawn(async move { configuration.attach().await });
        }
    }

    fn is_live(&self) -> bool {
        self.registry.has_volatile()
    }
}

/// Runs what waits for the disk where it holds nobody up.
async fn on_disk(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn object_path(path: &str) -> Result<OwnedObjectPath, CallError> {
    OwnedObjectPath::try_from(path)
        .map_err(|error| CallError::request(format!("{path} is no object path: {error}")))
}

fn gone(path: &str) -> CallError {
    CallError::standard(
        crate::error::Standard::UnknownMethod,
        format!("Object does not exist at path “{path}”"),
    )
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
