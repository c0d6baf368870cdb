//! All sessions: finding them, calls on the manager, signals of client processes.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;
use zbus::OwnedObjectPath;

use super::{
    session::{Right, Session, Stage},
    store::Store,
    tables::{MANAGER, SESSION, SESSION1},
};
use crate::{
    bus::{
        Access, Body, Bus, BusError, Call, Caller, Received, ServeEnd, Service, Serving, Value,
        interface::Interface,
    },
    constants::{AttentionGroup, LogCategory, LogGroup, SessionEvent, Status},
    error::CallError,
    log::LogSender,
    names::{self, interface, path, printable, service},
};

static ON_MANAGER: [&Interface; 1] = [&MANAGER];
static ON_SESSION: [&Interface; 2] = [&SESSION, &SESSION1];

/// Longest wait for one device name while all are collected.
const DEVICE_DEADLINE: Duration = Duration::from_secs(1);

/// What the session manager needs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder for records of what runs.
    pub state_dir: PathBuf,
    /// End after this time without use, when no session is left.
    pub idle: Option<Duration>,
}

/// Runs the session manager.
///
/// # Errors
/// Where the name cannot be had.
pub async fn run(bus: &Bus, options: Options, shutdown: &CancellationToken) -> Result<ServeEnd, BusError> {
    bus.watch_owners().await?;
    let store = Store::open(&options.state_dir).map_err(|error| {
        tracing::warn!(%error, folder = %options.state_dir.display(), "sessions are not recorded");
    });
    let manager = Arc::new(Manager {
        bus: bus.clone(),
        log: LogSender::new(bus, path::SESSIONS, interface::SESSIONS, LogGroup::SessionMgr),
        store: store.ok(),
        state: Mutex::default(),
    });
    let serving = Serving::new(bus);
    bus.take_name(service::SESSIONS).await?;
    // Client processes answer whoever has the name; front ends wait for their answers meanwhile.
    manager.log.attach().await;
    manager.recover().await;
    serving.run(manager, None, options.idle, shutdown).await
}

/// The session manager.
#[derive(Debug)]
pub(super) struct Manager {
    pub(super) bus: Bus,
    pub(super) log: LogSender,
    pub(super) store: Option<Store>,
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Sessions by their paths.
    pub(super) sessions: BTreeMap<String, Session>,
    /// Who waits for a client process to register, by token.
    pub(super) awaited: HashMap<String, oneshot::Sender<Registered>>,
}

/// A client process that says it is ready.
#[derive(Debug)]
pub(super) struct Registered {
    /// Well-known name.
    pub(super) name: String,
    /// Unique name.
    pub(super) unique: String,
}

impl Service for Manager {
    fn interfaces(&self, path: &str) -> Option<&'static [&'static Interface]> {
        if path == path::SESSIONS {
            return Some(&ON_MANAGER);
        }
        let state = self.lock();
        let session = state.sessions.get(path)?;
        // Before its client process is known there is nothing to talk to.
        (session.stage != Stage::Starting).then_some(&ON_SESSION)
    }

    fn paths(&self) -> Vec<String> {
        let state = self.lock();
        let started = state
            .sessions
            .iter()
            .filter(|(_, session)| session.stage != Stage::Starting);
        let below = started.map(|(path, _)| path.clone());
        [path::SESSIONS.to_owned()].into_iter().chain(below).collect()
    }

    async fn call(self: Arc<Self>, call: Call) -> Result<Body, CallError> {
        if call.path != path::SESSIONS {
            return self.on_session(call).await;
        }
        let caller = &call.caller;
        match call.method.name {
            "NewTunnel" => {
                let config_path: OwnedObjectPath = call.args()?;
                let session = self.new_tunnel(caller, config_path.as_str()).await?;
                Ok(Body::of((object_path(&session)?,)))
            }
            "FetchAvailableSessions" => paths(&self.usable(caller, |_| true)),
            "FetchManagedInterfaces" => {
                let devices = self.devices(self.usable(caller, |_| true)).await;
                Ok(Body::of((devices.into_values().collect::<Vec<_>>(),)))
            }
            "LookupConfigName" => {
                let name: String = call.args()?;
                paths(&self.usable(caller, |session| session.record.config_name == name))
            }
            "LookupInterface" => {
                let name: String = call.args()?;
                let session = self.lookup_interface(&name).await?;
                Ok(Body::of((object_path(&session)?,)))
            }
            _ => {
                let (session, uid): (OwnedObjectPath, u32) = call.args()?;
                self.transfer(caller, session.as_str(), uid).await
            }
        }
    }

    async fn get(self: Arc<Self>, access: Access) -> Result<Value, CallError> {
        if access.path == path::SESSIONS {
            return Ok(names::VERSION.into());
        }
        self.property(&access).await
    }

    async fn set(self: Arc<Self>, access: Access, value: Value) -> Result<(), CallError> {
        self.set_property(&access, value).await
    }

    fn on_signal(self: &Arc<Self>, signal: Received) {
        if signal.path != path::CLIENT || signal.interface != interface::BACKENDS {
            return;
        }
        if signal.member == "RegistrationRequest" {
            if let Some((name, token)) = signal.args::<(String, String)>() {
                self.on_registration(name, &token, signal.sender);
            }
            return;
        }
        self.on_client(&signal);
    }

    fn on_owner(self: &Arc<Self>, name: &str, owner: Option<&str>) {
        if name == service::LOG && owner.is_some() {
            let manager = Arc::clone(self);
            tokio::spawn(async move { manager.forward_again().await });
        } else if owner.is_none() && names::client_pid(name).is_some() {
            self.on_client_gone(name);
        }
    }

    fn is_live(&self) -> bool {
        !self.lock().sessions.is_empty()
    }
}

impl Manager {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a session that is there.
    ///
    /// # Errors
    /// Where it is gone, or being removed.
    pub(super) fn with<T>(
        &self,
        path: &str,
        work: impl FnOnce(&mut Session) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let mut state = self.lock();
        match state.sessions.get_mut(path) {
            Some(session) if session.stage == Stage::Closing => {
                Err(CallError::method("VPN session is stopped"))
            }
            Some(session) => work(session),
            None => Err(CallError::method("Access denied: Session no longer valid")),
        }
    }

    /// Writes what is to be found again.
    pub(super) fn save(&self, path: &str) {
        if let Some(store) = &self.store
            && let Some(session) = self.lock().sessions.get(path)
        {
            store.save(&session.record);
        }
    }

    /// Paths of sessions that a caller may use.
    fn usable(&self, caller: &Caller, wanted: impl Fn(&Session) -> bool) -> Vec<String> {
        let state = self.lock();
        let open = state.sessions.iter().filter(|(_, session)| {
            matches!(session.stage, Stage::Open | Stage::Replacing)
                && session.check(caller, Right::Use).is_ok()
                && wanted(session)
        });
        open.map(|(path, _)| path.clone()).collect()
    }

    /// Device names of sessions, by path; nothing for those whose client process does not answer.
    async fn devices(&self, paths: Vec<String>) -> BTreeMap<String, String> {
        let mut asked = JoinSet::new();
        for path in paths {
            let client = self
                .lock()
                .sessions
                .get(&path)
                .and_then(|session| session.unique.clone());
            let (bus, client) = (self.bus.clone(), client.unwrap_or_default());
            asked.spawn(async move {
                let name = bus.property::<String>(&client, path::CLIENT, interface::BACKENDS, "device_name");
                let name = tokio::time::timeout(DEVICE_DEADLINE, name).await;
                (path, name.ok().and_then(Result::ok).unwrap_or_default())
            });
        }
        let mut devices = BTreeMap::new();
        while let Some(answer) = asked.join_next().await {
            if let Ok((path, name)) = answer {
                devices.insert(path, name);
            }
        }
        devices
    }

    /// The session with that device, whoever's it is: the path and nothing more.
    async fn lookup_interface(&self, name: &str) -> Result<String, CallError> {
        let all = self.lock().sessions.keys().cloned().collect();
        let devices = self.devices(all).await;
        let mut found = devices
            .into_iter()
            .filter(|(_, device)| !device.is_empty() && device == name);
        match (found.next(), found.next()) {
            (Some((path, _)), None) => Ok(path),
            (None, _) => Err(CallError::method("Interface not found")),
            (Some(_), Some(_)) => Err(CallError::method("More than one interface found")),
        }
    }

    async fn transfer(&self, caller: &Caller, session: &str, uid: u32) -> Result<Body, CallError> {
        if caller.uid != 0 {
            return Err(CallError::method("Access denied"));
        }
        self.with(session, |session| {
            session.transfer(uid);
            Ok(())
        })?;
        self.save(session);
        self.tell_users(session).await;
        Ok(Body::none())
    }

    /// Tells the client process whose programs may use what it offers.
    pub(super) async fn tell_users(&self, path: &str) {
        let known = self.with(path, |session| Ok((session.unique.clone(), session.allowed())));
        let Ok((Some(client), users)) = known else { return };
        if let Err(error) = self.set_users(&client, users).await {
            tracing::warn!(%error, path, "the client process does not know who may use its proxy");
        }
    }

    /// Announces a session to everybody, with the least that there is to say.
    pub(super) async fn announce(&self, session: &str, event: SessionEvent, owner: u32) {
        if let Ok(path) = object_path(session) {
            let body = Body::of((path, event as u16, owner));
            self.bus
                .signal(
                    None,
                    path::SESSIONS,
                    interface::SESSIONS,
                    "SessionManagerEvent",
                    body,
                )
                .await;
        }
    }

    /// Says a status of our own; front ends hear it through the log service.
    pub(super) async fn say(&self, session: &str, status: &Status) {
        let body = Body::of(status.parts());
        self.bus
            .signal(
                Some(service::LOG),
                session,
                interface::SESSIONS,
                "StatusChange",
                body,
            )
            .await;
    }

    /// A client process says that it is ready; it is believed if its name and user are what they must be.
    fn on_registration(self: &Arc<Self>, name: String, token: &str, unique: String) {
        if names::client_pid(&name).is_none() || !self.lock().awaited.contains_key(token) {
            return;
        }
        let (manager, token) = (Arc::clone(self), token.to_owned());
        tokio::spawn(async move {
            let is_owner = manager.bus.owner(&name).await.as_deref() == Some(unique.as_str());
            let uid = manager.bus.caller(&unique).await.map(|caller| caller.uid);
            if !is_owner || uid != Ok(nix::unistd::geteuid().as_raw()) {
                tracing::warn!(name, unique, "somebody else claims to be a client process");
                return;
            }
            let awaited = manager.lock().awaited.remove(&token);
            // Whoever waited may have given up.
            let _given_up = awaited.map(|awaited| awaited.send(Registered { name, unique }));
        });
    }

    /// A client process tells something about its session.
    fn on_client(self: &Arc<Self>, signal: &Received) {
        let mut state = self.lock();
        let found = state
            .sessions
            .iter_mut()
            .find(|(_, session)| session.unique.as_deref() == Some(signal.sender.as_str()));
        let Some((path, session)) = found else { return };
        match signal.member.as_str() {
            "StatusChange" => {
                let args = signal.args::<(u32, u32, String)>();
                let read = args.and_then(|(major, minor, text)| Status::from_parts(major, minor, text));
                if let Some(status) = read {
                    session.on_status(Instant::now(), status);
                    let (path, status, count) = (path.clone(), session.status.clone(), session.statuses);
                    drop(state);
                    self.on_status(path, &status, count);
                }
            }
            "AttentionRequired" => {
                let Some((attention, group, text)) = signal.args::<(u32, u32, String)>() else {
                    return;
                };
                let path = path.clone();
                // A page to sign in on is for those who use the session, the rest for whoever listens.
                let to = if group == AttentionGroup::OpenUrl as u32 {
                    session.users.iter().cloned().map(Some).collect()
                } else {
                    vec![None]
                };
                drop(state);
                tokio::spawn(attention_required(
                    self.bus.clone(),
                    path,
                    to,
                    (attention, group, text),
                ));
            }
            "Log" => {
                if let Some((group, category, _token, text)) = signal.args::<(u32, u32, String, String)>() {
                    session.last_log = Some((group, category, printable(&text)));
                }
            }
            _ => {}
        }
    }

    pub(super) fn info(self: &Arc<Self>, text: String) {
        let manager = Arc::clone(self);
        tokio::spawn(async move { manager.log.log(LogCategory::Info, &text).await });
    }
}

async fn attention_required(bus: Bus, path: String, to: Vec<Option<String>>, wanted: (u32, u32, String)) {
    for to in to {
        let (on, body) = (interface::SESSIONS, Body::of(wanted.clone()));
        bus.signal(to.as_deref(), &path, on, "AttentionRequired", body)
            .await;
    }
}

pub(super) fn object_path(path: &str) -> Result<zbus::ObjectPath<'static>, CallError> {
    zbus::ObjectPath::try_from(path.to_owned()).map_err(|error| CallError::method(error.to_string()))
}

pub(super) fn paths(paths: &[String]) -> Result<Body, CallError> {
    let paths = paths
        .iter()
        .map(|path| object_path(path))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Body::of((paths,)))
}
