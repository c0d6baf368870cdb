//! New tunnels, and finding what runs when the session manager itself is started anew.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::oneshot;
use zbus::OwnedVariant;

use super::{
    manager::{Manager, Registered, object_path},
    session::{DEFAULT_VERBOSITY, Record, Session, Stage},
    store::Store,
};
use crate::{
    bus::{Body, Caller, RemoteError, Value},
    client::{Users, read_overrides},
    configuration::OverrideValue,
    constants::{SessionEvent, Status},
    error::{CallError, bare_text},
    names::{interface, path, service, session_id, session_token},
};

/// Sessions of one user at a time.
const MAX_OF_ONE: usize = 64;
/// Sessions at a time.
const MAX_SESSIONS: usize = 512;
/// Longest wait for a client process to say that it is ready; front ends wait 5 s for the whole.
const REGISTER_DEADLINE: Duration = Duration::from_secs(4);

/// What of a profile decides about the session.
struct Terms {
    owner: u32,
    transfers: bool,
    automatic_restart: bool,
}

impl Manager {
    /// Starts a client process for a profile; it does not connect yet.
    pub(super) async fn new_tunnel(
        self: &Arc<Self>,
        caller: &Caller,
        config_path: &str,
    ) -> Result<String, CallError> {
        let terms = self.terms(config_path).await?;
        let path = self.reserve(caller, config_path, &terms)?;
        match self.start_client(&path).await {
            Ok(()) => {}
            Err(error) => {
                self.give_up(&path).await;
                return Err(error);
            }
        }
        self.save(&path);
        self.announce(&path, SessionEvent::Created, caller.uid).await;
        self.info(format!(
            "New session {path}, uid {}, profile {config_path}",
            caller.uid
        ));
        Ok(path)
    }

    async fn terms(&self, config_path: &str) -> Result<Terms, CallError> {
        let (to, on) = (service::CONFIGURATION, interface::CONFIGURATION);
        let owner = self.bus.property::<u32>(to, config_path, on, "owner").await;
        let owner = owner.map_err(|error| {
            CallError::request(format!("the profile {config_path} cannot be had: {error}"))
        })?;
        let transfers = self
            .bus
            .property(to, config_path, on, "transfer_owner_session")
            .await
            .unwrap_or(false);
        let overrides = self
            .bus
            .property::<OwnedVariant>(to, config_path, on, "overrides")
            .await;
        Ok(Terms {
            owner,
            transfers,
            automatic_restart: overrides.is_ok_and(|overrides| restarts(&overrides)),
        })
    }

    /// Makes a session that nobody sees yet.
    fn reserve(&self, caller: &Caller, config_path: &str, terms: &Terms) -> Result<String, CallError> {
        let created = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let path = format!("{}/{}", path::SESSIONS, session_id());
        let gives = terms.transfers && terms.owner != caller.uid;
        let record = Record {
            path: path.clone(),
            token: session_token(),
            client: String::new(),
            config_path: config_path.to_owned(),
            config_name: String::new(),
            created,
            owner: if gives { terms.owner } else { caller.uid },
            acl: if gives {
                BTreeSet::from([caller.uid])
            } else {
                BTreeSet::new()
            },
            public_access: false,
            restrict_log_access: !gives,
            log_verbosity: DEFAULT_VERBOSITY,
            automatic_restart: terms.automatic_restart,
        };
        let mut state = self.lock();
        let sessions = || {
            state
                .sessions
                .values()
                .filter(|session| session.stage != Stage::Closing)
        };
        let is_own = |session: &&Session| {
            session.record.owner == record.owner || session.record.acl.contains(&caller.uid)
        };
        if sessions()
            .filter(is_own)
            .any(|session| session.record.config_path == config_path)
        {
            let text = "A session with this configuration profile is already running";
            return Err(CallError::method(text));
        }
        if sessions().count() >= MAX_SESSIONS || sessions().filter(is_own).count() >= MAX_OF_ONE {
            return Err(CallError::method(format!(
                "too many sessions: {MAX_OF_ONE} of one user and {MAX_SESSIONS} in all may run"
            )));
        }
        state.sessions.insert(path.clone(), Session::new(record));
        Ok(path)
    }

    /// Starts a client process for a session and makes the two known to each other.
    pub(super) async fn start_client(self: &Arc<Self>, path: &str) -> Result<(), CallError> {
        let (token, config_path) = self.with(path, |session| {
            Ok((session.record.token.clone(), session.record.config_path.clone()))
        })?;
        let registered = self.await_client(&token).await?;
        let users = self.with(path, |session| {
            // From here on its signals are ours.
            session.unique = Some(registered.unique.clone());
            session.record.client.clone_from(&registered.name);
            Ok(session.allowed())
        })?;
        let client = registered.unique.as_str();
        let name = self
            .introduce(client, path, &token, &config_path, users)
            .await
            .map_err(|error| {
                if error.is_unanswered() {
                    CallError::request("Could not start the VPN client")
                } else {
                    CallError::request(bare_text(&error.text))
                }
            })?;
        let level = self
            .bus
            .property(client, path::CLIENT, interface::BACKENDS, "log_level")
            .await;
        self.with(path, |session| {
            session.record.config_name = name;
            if let Ok(level) = level {
                session.record.log_verbosity = level;
            }
            session.stage = Stage::Open;
            Ok(())
        })
    }

    async fn await_client(&self, token: &str) -> Result<Registered, CallError> {
        let failed = || CallError::request("Could not start the VPN client");
        let (sender, registered) = oneshot::channel();
        self.lock().awaited.insert(token.to_owned(), sender);
        let body = Body::of((token.to_owned(),));
        let started = self
            .bus
            .call(
                service::BACKENDS,
                path::BACKENDS,
                interface::BACKENDS,
                "StartClient",
                body,
            )
            .await;
        let outcome = match started {
            Ok(_pid) => tokio::time::timeout(REGISTER_DEADLINE, registered)
                .await
                .ok()
                .and_then(Result::ok),
            Err(error) => {
                tracing::warn!(%error, "no client process could be started");
                None
            }
        };
        self.lock().awaited.remove(token);
        outcome.ok_or_else(failed)
    }

    /// Tells a client process which session it is for; gives the profile's name.
    async fn introduce(
        &self,
        client: &str,
        session: &str,
        token: &str,
        config_path: &str,
        users: Users,
    ) -> Result<String, RemoteError> {
        let unusable = |error: CallError| RemoteError {
            name: error.name(),
            text: error.to_string(),
        };
        let body = Body::of((token.to_owned(), object_path(session).map_err(unusable)?));
        self.bus
            .call(client, path::CLIENT, interface::CLIENT1, "SetSession", body)
            .await?;
        self.set_users(client, users).await?;
        let body = Body::of((token.to_owned(), object_path(config_path).map_err(unusable)?));
        self.bus
            .ask(
                client,
                path::CLIENT,
                interface::BACKENDS,
                "RegistrationConfirmation",
                body,
            )
            .await
    }

    /// Tells a client process whose programs may use what it offers.
    pub(super) async fn set_users(&self, client: &str, users: Users) -> Result<(), RemoteError> {
        let (uids, everybody) = match users {
            Users::Only(uids) => (uids, false),
            Users::Nobody => (Vec::new(), false),
            Users::Everybody => (Vec::new(), true),
        };
        let body = Body::of((uids, everybody));
        self.bus
            .call(client, path::CLIENT, interface::CLIENT1, "SetUsers", body)
            .await
            .map(|_reply| ())
    }

    /// Removes a session that never came to be.
    async fn give_up(&self, path: &str) {
        let session = self.lock().sessions.remove(path);
        if let Some(client) = session.and_then(|session| session.unique) {
            let body = Body::none();
            if let Err(error) = self
                .bus
                .call(&client, path::CLIENT, interface::BACKENDS, "ForceShutdown", body)
                .await
            {
                tracing::debug!(%error, "the client process is gone already");
            }
        }
    }

    /// Takes over what still runs of an earlier session manager, and says what does not.
    pub(super) async fn recover(self: &Arc<Self>) {
        let records = self.store.as_ref().map(Store::load).unwrap_or_default();
        for record in records {
            let (path, owner) = (record.path.clone(), record.owner);
            if self.recover_one(record).await {
                self.info(format!("Session {path} goes on"));
            } else {
                if let Some(store) = &self.store {
                    store.forget(&path);
                }
                self.announce(&path, SessionEvent::Destroyed, owner).await;
            }
        }
    }

    async fn recover_one(&self, record: Record) -> bool {
        let Some(client) = self.bus.owner(&record.client).await else {
            return false;
        };
        let (path, mut session) = (record.path.clone(), Session::new(record));
        session.unique = Some(client.clone());
        let users = session.allowed();
        let (token, config_path) = (session.record.token.clone(), session.record.config_path.clone());
        self.lock().sessions.insert(path.clone(), session);
        let known = self.introduce(&client, &path, &token, &config_path, users).await;
        let status = self
            .bus
            .property::<OwnedVariant>(&client, path::CLIENT, interface::BACKENDS, "status")
            .await;
        let mut state = self.lock();
        if let Err(error) = known {
            tracing::info!(%error, path, "a client process is not ours any more");
            state.sessions.remove(&path);
            return false;
        }
        if let Some(session) = state.sessions.get_mut(&path) {
            session.stage = Stage::Open;
            if let Some(status) = status.ok().and_then(read_status) {
                session.status = status;
            }
        }
        true
    }
}

fn read_status(value: OwnedVariant) -> Option<Status> {
    let (major, minor, text) = <(u32, u32, String)>::try_from(Value::from(value)).ok()?;
    Status::from_parts(major, minor, text)
}

/// Tells whether a crashed client process is to be replaced.
fn restarts(overrides: &OwnedVariant) -> bool {
    let wanted = OverrideValue::Text("on-failure".into());
    read_overrides(overrides).get("automatic-restart") == Some(&wanted)
}
