//! Calls and properties of network configuration, and who may.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use zbus::{ObjectPath, OwnedObjectPath};

use super::{
    change::Change,
    check,
    device::{Device, Network},
    state::{Removed, State},
    tables,
};
use crate::{
    bus::{Access, Body, Bus, Call, Caller, Outbox, Posted, Service, Urgency, Value, interface::Interface},
    constants::{LogCategory, MAX_VERBOSITY, is_shown},
    error::{CallError, Domain, Standard},
    log::LogSender,
    names::{VERSION, interface, path, service},
    settings::Kept,
};

/// Verbosity until another is set: what a user would tell a colleague.
const DEFAULT_LEVEL: u32 = 3;

/// What is kept between two runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    log_level: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log_level: DEFAULT_LEVEL,
        }
    }
}

/// Network configuration.
#[derive(Debug)]
pub(super) struct NetcfgService {
    pub(super) bus: Bus,
    /// The user that services run as.
    pub(super) service_uid: u32,
    pub(super) settings: Arc<Kept<Settings>>,
    pub(super) log: LogSender,
    pub(super) outbox: Outbox,
    pub(super) state: Mutex<State>,
}

impl NetcfgService {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_service_or_root(&self, caller: &Caller) -> bool {
        caller.uid == self.service_uid || caller.uid == 0
    }

    async fn note(&self, category: LogCategory, text: &str) {
        if is_shown(category as u32, self.settings.current().log_level) {
            self.log.log(category, text).await;
        }
        let dropped = self.outbox.take_dropped();
        if dropped > 0 {
            let text = format!("{dropped} changes of devices were not told to subscribers");
            self.log.log(LogCategory::Warn, &text).await;
        }
    }

    async fn call_of_main(&self, call: &Call) -> Result<Body, CallError> {
        let caller = &call.caller;
        if call.method.name == "DcoAvailable" {
            return Ok(Body::of((false,)));
        }
        refuse_unless(self.is_service_or_root(caller))?;
        match call.method.name {
            "CreateVirtualInterface" => self.create(call).await,
            "FetchInterfaceList" => {
                let paths: Vec<ObjectPath<'static>> = self
                    .state()
                    .device_paths()
                    .filter_map(|path| ObjectPath::try_from(path.clone()).ok())
                    .collect();
                Ok(Body::of((paths,)))
            }
            "ProtectSocket" => self.protect_socket(call),
            "Cleanup" => {
                let removed = self.remove(|state| state.clean_up(caller));
                self.note_removed(&removed).await;
                Ok(Body::none())
            }
            "NotificationSubscribe" => {
                self.state().subscribe(&caller.name, call.args()?)?;
                self.forget_if_gone(&caller.name).await;
                Ok(Body::none())
            }
            "NotificationUnsubscribe" => {
                let named: String = call.args()?;
                let name = if named.is_empty() {
                    caller.name.clone()
                } else {
                    named
                };
                refuse_unless(name == caller.name || caller.uid == 0)?;
                self.state().unsubscribe(&name)?;
                Ok(Body::none())
            }
            "NotificationSubscriberList" => Ok(Body::of((self.state().subscriptions(),))),
            other => Err(no_method(other)),
        }
    }

    async fn create(&self, call: &Call) -> Result<Body, CallError> {
        let name: String = call.args()?;
        let at = self.state().create(&call.caller, &name)?;
        self.forget_if_gone(&call.caller.name).await;
        self.note(LogCategory::Verb2, &format!("device {at} was made"))
            .await;
        let at = ObjectPath::try_from(at).map_err(|error| failed(error.to_string()))?;
        Ok(Body::of((at,)))
    }

    /// Says yes: a socket to the server needs no way around the tunnel, since no route of the host leads into it. The
    /// socket that may come along is closed with the message.
    fn protect_socket(&self, call: &Call) -> Result<Body, CallError> {
        let (remote, ipv6, device): (String, bool, OwnedObjectPath) = call.args()?;
        check::address(&remote, ipv6)?;
        let is_known = device.as_str() == "/" || self.state().device(device.as_str()).is_some();
        if !is_known {
            return Err(failed("There is no such device"));
        }
        Ok(Body::of((true,)))
    }

    async fn call_of_device(&self, call: &Call) -> Result<Body, CallError> {
        let caller = &call.caller;
        let creator = self.with(&call.path, |device| Ok(device.creator.clone()))?;
        refuse_unless(caller.name == creator || caller.uid == 0)?;
        match call.method.name {
            "AddIPAddress" => self.change(call, Device::add_address),
            "SetRemoteAddress" => self.change(call, |device, (ip, ipv6): &(String, bool)| {
                device.set_remote(ip, *ipv6)
            }),
            "AddNetworks" => self.change(call, |device, networks: &Vec<Network>| {
                device.add_networks(networks)
            }),
            "AddDNS" => self.change(call, |device, servers: &Vec<String>| device.add_dns(servers)),
            "AddDNSSearch" => self.change(call, |device, domains: &Vec<String>| {
                device.add_dns_search(domains)
            }),
            "SetDNSSEC" => self.change(call, |device, mode: &String| device.set_dnssec(mode)),
            "SetDNSTransport" => self.change(call, |device, mode: &String| device.set_dns_transport(mode)),
            "EnableDCO" => Err(failed("Data channel offload is not available")),
            "Establish" => Err(failed(
                "real interfaces are not made yet; the tunnel ends in the embedded stack",
            )),
            "Describe" => {
                let (kind, name): (String, String) = call.args()?;
                let line = self.with_and_tell(&call.path, |device| {
                    let changes = device.describe(&kind, &name)?;
                    Ok((device.summary(), changes))
                })?;
                self.note(LogCategory::Info, &line).await;
                Ok(Body::none())
            }
            "Disable" => {
                let line = self.with_and_tell(&call.path, |device| {
                    let line = format!("{} is down", device.name());
                    Ok((line, device.disable()))
                })?;
                self.note(LogCategory::Verb1, &line).await;
                Ok(Body::none())
            }
            "Destroy" => {
                let removed = self.remove(|state| state.destroy(&call.path).into_iter().collect());
                self.note_removed(&removed).await;
                Ok(Body::none())
            }
            other => Err(no_method(other)),
        }
    }

    /// Changes a device by a method's arguments.
    fn change<T: serde::de::DeserializeOwned + zbus::Type>(
        &self,
        call: &Call,
        change: impl FnOnce(&mut Device, &T) -> Result<(), CallError>,
    ) -> Result<Body, CallError> {
        let args: T = call.args()?;
        self.with(&call.path, |device| change(device, &args))?;
        Ok(Body::none())
    }

    fn with<T>(
        &self,
        path: &str,
        change: impl FnOnce(&mut Device) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let mut state = self.state();
        change(state.device_mut(path).ok_or_else(|| gone(path))?)
    }

    /// Changes a device and tells subscribers; under one lock, so that they hear changes in their order.
    fn with_and_tell<T>(
        &self,
        path: &str,
        change: impl FnOnce(&mut Device) -> Result<(T, Vec<Change>), CallError>,
    ) -> Result<T, CallError> {
        let mut state = self.state();
        let (result, changes) = change(state.device_mut(path).ok_or_else(|| gone(path))?)?;
        self.tell(&state, path, &changes);
        Ok(result)
    }

    fn remove(&self, remove: impl FnOnce(&mut State) -> Vec<Removed>) -> Vec<Removed> {
        let mut state = self.state();
        let removed = remove(&mut state);
        for device in &removed {
            self.tell(&state, &device.path, &device.changes);
        }
        removed
    }

    fn tell(&self, state: &State, path: &str, changes: &[Change]) {
        for change in changes {
            for to in state.listeners(change) {
                let posted = Posted {
                    to: to.clone(),
                    path: path.to_owned(),
                    interface: interface::NETCFG,
                    name: "NetworkChange",
                    body: change.body(),
                };
                self.outbox.post(Urgency::State, posted);
            }
        }
    }

    async fn note_removed(&self, removed: &[Removed]) {
        for device in removed {
            let text = format!("{} was removed ({})", device.name, device.path);
            self.note(LogCategory::Verb1, &text).await;
        }
    }

    /// Who ended while a call of its was answered is not seen to end: nothing of it may stay.
    async fn forget_if_gone(&self, name: &str) {
        if self.bus.owner(name).await.is_none() {
            self.remove(|state| state.vanish(name));
        }
    }

    fn get_of_main(&self, property: &str) -> Result<Value, CallError> {
        Ok(match property {
            "global_dns_servers" => Value::from(self.state().global_dns_servers()),
            "global_dns_search" => Value::from(self.state().global_dns_search()),
            "log_level" => Value::from(self.settings.current().log_level.min(MAX_VERBOSITY)),
            "config_file" => Value::from(self.settings.path_text()),
            "version" => Value::from(VERSION),
            other => return Err(no_property(other)),
        })
    }

    async fn set_of_main(&self, value: Value) -> Result<(), CallError> {
        let log_level: u32 = read(value)?;
        if log_level > MAX_VERBOSITY {
            return Err(failed("Incorrect log level"));
        }
        self.settings
            .change(move |settings| settings.log_level = log_level)
            .await
    }
}

impl Service for NetcfgService {
    fn interfaces(&self, path: &str) -> Option<&'static [&'static Interface]> {
        if path == path::NETCFG {
            return Some(tables::MAIN);
        }
        self.state().device(path).map(|_| tables::DEVICE)
    }

    fn paths(&self) -> Vec<String> {
        let main = std::iter::once(path::NETCFG.to_owned());
        main.chain(self.state().device_paths().cloned()).collect()
    }

    async fn call(self: Arc<Self>, call: Call) -> Result<Body, CallError> {
        if call.path == path::NETCFG {
            self.call_of_main(&call).await
        } else {
            self.call_of_device(&call).await
        }
    }

    async fn get(self: Arc<Self>, access: Access) -> Result<Value, CallError> {
        if access.path == path::NETCFG {
            return self.get_of_main(access.property.name);
        }
        if !self.is_service_or_root(&access.caller) {
            return Err(CallError::denied("Access denied"));
        }
        self.with(&access.path, |device| get_of_device(device, access.property.name))
    }

    async fn set(self: Arc<Self>, access: Access, value: Value) -> Result<(), CallError> {
        let denied = || CallError::denied("Access denied");
        if access.path == path::NETCFG {
            if !self.is_service_or_root(&access.caller) {
                return Err(denied());
            }
            return self.set_of_main(value).await;
        }
        self.with(&access.path, |device| {
            if access.caller.name != device.creator && access.caller.uid != 0 {
                return Err(denied());
            }
            set_of_device(device, access.property.name, value)
        })
    }

    fn on_owner(self: &Arc<Self>, name: &str, owner: Option<&str>) {
        if name == service::LOG && owner.is_some() {
            let log = self.log.clone();
            tokio::spawn(async move { log.attach().await });
        }
        if owner.is_none() && name.starts_with(':') {
            let removed = self.remove(|state| state.vanish(name));
            if !removed.is_empty() {
                let service = Arc::clone(self);
                tokio::spawn(async move { service.note_removed(&removed).await });
            }
        }
    }

    fn is_live(&self) -> bool {
        !self.state().is_empty()
    }
}

fn get_of_device(device: &Device, property: &str) -> Result<Value, CallError> {
    Ok(match property {
        "device_name" => Value::from(device.name().to_owned()),
        "owner" => Value::from(device.owner),
        "acl" => Value::from(Vec::<u32>::new()),
        "mtu" => Value::from(device.mtu_bytes),
        "txqueuelen" => Value::from(device.txqueuelen),
        "layer" => Value::from(device.layer),
        "reroute_ipv4" => Value::from(device.reroute_ipv4),
        "reroute_ipv6" => Value::from(device.reroute_ipv6),
        "dns_scope" => Value::from(device.dns_scope),
        "dns_name_servers" => Value::from(device.dns_servers()),
        "dns_search_domains" => Value::from(device.dns_domains().to_vec()),
        "dnssec_mode" => Value::from(device.dnssec_mode),
        "kind" => Value::from(device.kind()),
        other => return Err(no_property(other)),
    })
}

fn set_of_device(device: &mut Device, property: &str, value: Value) -> Result<(), CallError> {
    match property {
        "mtu" => device.set_mtu(read(value)?),
        "txqueuelen" => {
            device.txqueuelen = read(value)?;
            Ok(())
        }
        "layer" => device.set_layer(read(value)?),
        "reroute_ipv4" => {
            device.reroute_ipv4 = read(value)?;
            Ok(())
        }
        "reroute_ipv6" => {
            device.reroute_ipv6 = read(value)?;
            Ok(())
        }
        "dns_scope" => device.set_dns_scope(&read::<String>(value)?),
        other => Err(no_property(other)),
    }
}

/// Reads a value whose type was checked.
fn read<T: TryFrom<Value>>(value: Value) -> Result<T, CallError> {
    T::try_from(value).map_err(|_| CallError::invalid_args("the value is of another type"))
}

fn refuse_unless(is_allowed: bool) -> Result<(), CallError> {
    if is_allowed {
        Ok(())
    } else {
        Err(CallError::method("Access denied"))
    }
}

fn failed(text: impl Into<String>) -> CallError {
    CallError::new(Domain::Netcfg, text)
}

fn gone(path: &str) -> CallError {
    CallError::standard(
        Standard::UnknownMethod,
        format!("Object does not exist at path “{path}”"),
    )
}

fn no_method(name: &str) -> CallError {
    CallError::standard(Standard::UnknownMethod, format!("No such method “{name}”"))
}

fn no_property(name: &str) -> CallError {
    CallError::invalid_args(format!("No such property “{name}”"))
}
