//! Calls, properties and signals of the log service.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};
use zbus::{ObjectPath, OwnedObjectPath, names::InterfaceName};

use super::{
    event::Event,
    line::{Prefix, render},
    state::{Delivery, Incoming, Proxy, Refusal, State, is_session},
    tables,
    writer::Writer,
};
use crate::{
    bus::{
        Access, Body, Bus, Call, Caller, Outbox, Posted, Received, Service, Urgency, Value,
        interface::Interface,
    },
    constants::{LogCategory, LogGroup, MAX_VERBOSITY, is_shown},
    error::{CallError, Domain, Standard},
    names::{VERSION, interface, path, service},
    settings::Kept,
};

/// Verbosity until another is set: what a user would tell a colleague.
const DEFAULT_LEVEL: u32 = 3;

/// How long after the start client processes may still have to say whose they are: those that were there before.
const START_TIME: Duration = Duration::from_secs(10);
/// Longest wait for one of them, and how often it is looked for.
const SESSION_WAIT: Duration = Duration::from_secs(2);
const SESSION_POLL: Duration = Duration::from_millis(50);

/// What is kept between two runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    log_level: u32,
    log_dbus_details: bool,
    log_prefix_logtag: bool,
    /// Unset, a file has timestamps, and the standard error has none: who reads that adds them.
    timestamp: Option<bool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log_level: DEFAULT_LEVEL,
            log_dbus_details: false,
            log_prefix_logtag: false,
            timestamp: None,
        }
    }
}

/// The log service.
#[derive(Debug)]
pub(super) struct LogService {
    pub(super) bus: Bus,
    /// The user that services run as.
    pub(super) service_uid: u32,
    pub(super) settings: Arc<Kept<Settings>>,
    pub(super) writer: Writer,
    pub(super) outbox: Outbox,
    pub(super) state: Mutex<State>,
    pub(super) started: Instant,
}

impl LogService {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_service(&self, caller: &Caller) -> bool {
        caller.uid == self.service_uid
    }

    fn is_service_or_root(&self, caller: &Caller) -> bool {
        self.is_service(caller) || caller.uid == 0
    }

    /// Adds a line about ourselves.
    fn note(&self, category: LogCategory, text: &str) {
        let settings = self.settings.current();
        if is_shown(category as u32, settings.log_level)
            && let Some(event) = Event::line(LogGroup::Logger as u32, category as u32, text)
        {
            self.writer
                .write(render(&self.prefix(&settings, None, None), &event));
        }
    }

    fn prefix<'a>(
        &self,
        settings: &Settings,
        tag: Option<u64>,
        origin: Option<(&'a str, &'a str, &'a str)>,
    ) -> Prefix<'a> {
        Prefix {
            at: self.has_timestamps(settings).then(SystemTime::now),
            tag: tag.filter(|_| settings.log_prefix_logtag),
            origin: origin.filter(|_| settings.log_dbus_details),
        }
    }

    fn has_timestamps(&self, settings: &Settings) -> bool {
        settings.timestamp.unwrap_or_else(|| self.writer.is_file())
    }

    async fn attach(&self, call: &Call) -> Result<Body, CallError> {
        let caller = &call.caller;
        let interface: String = call.args()?;
        refuse_unless(self.is_service_or_root(caller))?;
        if InterfaceName::try_from(interface.as_str()).is_err() {
            return Err(CallError::new(Domain::Log, "Invalid interface"));
        }
        let tag = self.state().attach(&caller.name, &interface, Instant::now())?;
        self.forget_if_gone(&caller.name).await;
        self.note(
            LogCategory::Debug,
            &format!("{tag}: {} sends as {interface}", caller.name),
        );
        Ok(Body::none())
    }

    fn detach(&self, call: &Call) -> Result<Body, CallError> {
        let interface: String = call.args()?;
        refuse_unless(self.is_service_or_root(&call.caller))?;
        self.state().detach(&call.caller.name, &interface)?;
        Ok(Body::none())
    }

    async fn assign_session(&self, call: &Call) -> Result<Body, CallError> {
        let caller = &call.caller;
        let (session, interface): (OwnedObjectPath, String) = call.args()?;
        refuse_unless(self.is_service(caller) && caller.pid != 0)?;
        let name = format!("{}{}", service::CLIENT_PREFIX, caller.pid);
        refuse_unless(self.bus.owner(&name).await.as_deref() == Some(&*caller.name))?;
        if !is_session(session.as_str()) {
            return Err(CallError::new(Domain::Log, "Invalid session path"));
        }
        self.state().assign(&caller.name, &interface, session.as_str())?;
        self.forget_if_gone(&caller.name).await;
        Ok(Body::none())
    }

    async fn proxy_log_events(&self, call: &Call) -> Result<Body, CallError> {
        let (target, session): (String, OwnedObjectPath) = call.args()?;
        refuse_unless(self.state().is_session_manager(&call.caller.name))?;
        let no_target = || CallError::new(Domain::Log, "Invalid target address");
        if !target.starts_with(':') {
            return Err(no_target());
        }
        let receiver = self.bus.caller(&target).await.map_err(|_gone| no_target())?;
        let proxy = self.proxy_of(&target, receiver.uid, session.as_str()).await?;
        if self.forget_if_gone(&target).await {
            return Err(no_target());
        }
        self.note(
            LogCategory::Verb2,
            &format!("{target} has the log of {session} forwarded"),
        );
        Ok(Body::of((path_value(&proxy)?,)))
    }

    /// Makes a proxy. After a new start the session manager may ask for one before the session's client process has
    /// said that it has that session: both begin when they see us.
    async fn proxy_of(&self, target: &str, uid: u32, session: &str) -> Result<String, Refusal> {
        let asked = Instant::now();
        loop {
            let made = self.state().proxy(target, uid, session);
            let may_come = self.started.elapsed() < START_TIME && asked.elapsed() < SESSION_WAIT;
            if made != Err(Refusal::NoSession) || !may_come {
                return made;
            }
            tokio::time::sleep(SESSION_POLL).await;
        }
    }

    /// Who ended while a call of its was answered is not seen to end: nothing of it may stay.
    async fn forget_if_gone(&self, name: &str) -> bool {
        let is_gone = self.bus.owner(name).await.is_none();
        if is_gone {
            self.state().vanish(name);
        }
        is_gone
    }

    fn remove_proxy(&self, call: &Call) -> Result<Body, CallError> {
        let proxy = self.proxy(&call.path)?;
        refuse_unless(self.may_use(&proxy, &call.caller))?;
        self.state().remove_proxy(&call.path);
        Ok(Body::none())
    }

    fn may_use(&self, proxy: &Proxy, caller: &Caller) -> bool {
        caller.uid == proxy.uid || self.state().is_session_manager(&caller.name)
    }

    fn proxy(&self, path: &str) -> Result<Proxy, CallError> {
        let proxy = self.state().proxy_at(path).cloned();
        proxy.ok_or_else(|| gone(path))
    }

    fn get_of_main(&self, property: &str) -> Result<Value, CallError> {
        let settings = self.settings.current();
        Ok(match property {
            "version" => Value::from(VERSION),
            "log_method" => Value::from(self.writer.method()),
            "log_level" => Value::from(settings.log_level.min(MAX_VERBOSITY)),
            "log_dbus_details" => Value::from(settings.log_dbus_details),
            "log_prefix_logtag" => Value::from(settings.log_prefix_logtag),
            "timestamp" => Value::from(self.has_timestamps(&settings)),
            "config_file" => Value::from(self.settings.path_text()),
            "num_attached" => Value::from(u32::try_from(self.state().attached()).unwrap_or(u32::MAX)),
            other => return Err(no_property(other)),
        })
    }

    async fn set_of_main(&self, property: &'static str, value: Value) -> Result<(), CallError> {
        if property == "log_level" {
            let log_level = level(value)?;
            return self
                .settings
                .change(move |settings| settings.log_level = log_level)
                .await;
        }
        let is_on = bool::try_from(value).map_err(|_| CallError::invalid_args("not a boolean"))?;
        let change = move |settings: &mut Settings| match property {
            "log_dbus_details" => settings.log_dbus_details = is_on,
            "log_prefix_logtag" => settings.log_prefix_logtag = is_on,
            _ => settings.timestamp = Some(is_on),
        };
        self.settings.change(change).await
    }

    /// Writes and forwards one signal.
    fn deliver(&self, signal: &Received, event: &Event, delivery: Delivery, settings: &Settings) {
        let Delivery {
            tag,
            is_written,
            dropped,
            session,
            targets,
        } = delivery;
        if dropped > 0 {
            self.note(
                LogCategory::Warn,
                &format!("{dropped} signals of {} were too many", signal.sender),
            );
        }
        if is_written {
            let origin = (&*signal.sender, &*signal.path, &*signal.interface);
            let prefix = self.prefix(settings, Some(tag), Some(origin));
            self.writer.write(render(&prefix, event));
        }
        let urgency = match event {
            Event::Line { .. } => Urgency::Line,
            Event::Status(_) => Urgency::State,
        };
        let Some(session) = session else { return };
        for to in targets {
            let posted = Posted {
                to,
                path: session.clone(),
                interface: interface::BACKENDS,
                name: event.member(),
                body: event.body(),
            };
            self.outbox.post(urgency, posted);
        }
        if self.outbox.has_dropped() && self.state().may_report(Instant::now()) {
            let count = self.outbox.take_dropped();
            self.note(LogCategory::Warn, &format!("{count} signals were not forwarded"));
        }
        if event.is_close() && signal.interface == interface::SESSIONS {
            self.state().close(&session);
        }
    }
}

impl Service for LogService {
    fn interfaces(&self, path: &str) -> Option<&'static [&'static Interface]> {
        if path == path::LOG {
            return Some(tables::MAIN);
        }
        self.state().proxy_at(path).map(|_| tables::PROXY)
    }

    fn paths(&self) -> Vec<String> {
        let main = std::iter::once(path::LOG.to_owned());
        main.chain(self.state().proxy_paths().cloned()).collect()
    }

    async fn call(self: Arc<Self>, call: Call) -> Result<Body, CallError> {
        match call.method.name {
            "Attach" => self.attach(&call).await,
            "Detach" => self.detach(&call),
            "AssignSession" => self.assign_session(&call).await,
            "ProxyLogEvents" => self.proxy_log_events(&call).await,
            "GetSubscriberList" => {
                refuse_unless(self.is_service_or_root(&call.caller))?;
                Ok(Body::of((self.state().subscribers(),)))
            }
            "Remove" => self.remove_proxy(&call),
            other => Err(CallError::standard(
                Standard::UnknownMethod,
                format!("No such method “{other}”"),
            )),
        }
    }

    async fn get(self: Arc<Self>, access: Access) -> Result<Value, CallError> {
        if access.path == path::LOG {
            return self.get_of_main(access.property.name);
        }
        let proxy = self.proxy(&access.path)?;
        if !self.may_use(&proxy, &access.caller) {
            return Err(CallError::denied("Access denied"));
        }
        match access.property.name {
            "log_level" => Ok(Value::from(proxy.log_level)),
            "session_path" => Ok(Value::from(path_value(&proxy.session)?)),
            "target" => Ok(Value::from(proxy.target)),
            other => Err(no_property(other)),
        }
    }

    async fn set(self: Arc<Self>, access: Access, value: Value) -> Result<(), CallError> {
        if access.path == path::LOG {
            if !self.is_service_or_root(&access.caller) {
                return Err(CallError::denied("Access denied"));
            }
            return self.set_of_main(access.property.name, value).await;
        }
        let proxy = self.proxy(&access.path)?;
        if !self.may_use(&proxy, &access.caller) {
            return Err(CallError::denied("Access denied"));
        }
        let log_level = level(value)?;
        if let Some(proxy) = self.state().proxy_at_mut(&access.path) {
            proxy.log_level = log_level;
        }
        Ok(())
    }

    fn on_signal(self: &Arc<Self>, signal: Received) {
        let Some(event) = Event::read(&signal) else {
            return;
        };
        let settings = self.settings.current();
        let incoming = Incoming {
            sender: &signal.sender,
            path: &signal.path,
            interface: &signal.interface,
            event: &event,
        };
        let taken = self.state().take(&incoming, settings.log_level, Instant::now());
        if let Some(delivery) = taken {
            self.deliver(&signal, &event, delivery, &settings);
        }
    }

    fn on_owner(self: &Arc<Self>, name: &str, owner: Option<&str>) {
        if name == service::SESSIONS {
            self.state().set_session_manager(owner);
        }
        if owner.is_none() && name.starts_with(':') && self.state().vanish(name) {
            self.note(LogCategory::Debug, &format!("{name} has ended"));
        }
    }

    fn is_live(&self) -> bool {
        !self.state().is_empty()
    }
}

fn refuse_unless(is_allowed: bool) -> Result<(), CallError> {
    if is_allowed {
        Ok(())
    } else {
        Err(CallError::method("Access denied"))
    }
}

/// A verbosity that is set.
fn level(value: Value) -> Result<u32, CallError> {
    u32::try_from(value)
        .ok()
        .filter(|level| *level <= MAX_VERBOSITY)
        .ok_or_else(|| CallError::standard(Standard::Failed, "Incorrect log level"))
}

fn path_value(path: &str) -> Result<ObjectPath<'static>, CallError> {
    ObjectPath::try_from(path.to_owned()).map_err(|_| gone(path))
}

fn gone(path: &str) -> CallError {
    CallError::standard(
        Standard::UnknownMethod,
        format!("Object does not exist at path “{path}”"),
    )
}

fn no_property(name: &str) -> CallError {
    CallError::invalid_args(format!("No such property “{name}”"))
}
