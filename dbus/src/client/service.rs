//! The client process's object: who may call, and what each call does.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use zbus::OwnedObjectPath;

use super::{
    device,
    life::{Life, Notice, Step},
    program::{Connected, Event, Prepared, Program, Secret, Tunnel, Users},
    register,
    tables::{BACKEND, CLIENT1},
    telling::Teller,
    values::{connection, last_log, object_path, offer, statistics},
};
use crate::{
    bus::{
        Access, Body, Bus, BusError, Call, Caller, ServeEnd, Service, Serving, Value, interface::Interface,
    },
    constants::{LogCategory, MAX_VERBOSITY, is_shown},
    error::{CallError, Domain},
    names::{self, path, printable, service},
};

static INTERFACES: [&Interface; 2] = [&BACKEND, &CLIENT1];

/// Longest wait for the tunnel's good-bye to its server.
const LEAVE_DEADLINE: Duration = Duration::from_secs(4);
/// Verbosity of a profile that asks for none.
const DEFAULT_VERBOSITY: u32 = 4;
/// Longest pause reason that is kept.
const MAX_REASON: usize = 256;

/// Runs one client process until its session ends.
///
/// # Errors
/// Where the bus does not let it have its name.
pub async fn run<P: Program>(
    bus: &Bus,
    token: String,
    program: P,
    shutdown: &CancellationToken,
) -> Result<ServeEnd, BusError> {
    let name = format!("{}{}", service::CLIENT_PREFIX, std::process::id());
    bus.watch_owners().await?;
    let serving = Serving::new(bus);
    bus.take_name(&name).await?;
    let process = Arc::new(ClientProcess {
        bus: bus.clone(),
        name,
        teller: Teller::start(bus, token.clone()),
        token,
        program,
        end: shutdown.child_token(),
        state: Mutex::new(State {
            life: Life::new(),
            manager: bus.owner(service::SESSIONS).await,
            session_path: None,
            config_path: String::new(),
            config_name: String::new(),
            tunnel: None,
            log_level: DEFAULT_VERBOSITY,
            users: Users::Nobody,
            device_path: None,
            last_log: None,
            calls_for_manager: 0,
        }),
        ended: tokio::sync::Notify::new(),
        registering: tokio::sync::Mutex::new(()),
    });
    tokio::spawn(Arc::clone(&process).start());
    let ended = serving.run(Arc::clone(&process), None, None, &process.end).await;
    process.leave().await;
    ended
}

#[derive(Debug)]
struct ClientProcess<P: Program> {
    bus: Bus,
    name: String,
    token: String,
    program: P,
    teller: Teller,
    /// The process is to end.
    end: CancellationToken,
    state: Mutex<State<P::Tunnel>>,
    /// The tunnel has ended.
    ended: tokio::sync::Notify,
    /// One registration at a time.
    registering: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State<T> {
    life: Life,
    /// Unique name of the session manager.
    manager: Option<String>,
    session_path: Option<String>,
    config_path: String,
    config_name: String,
    tunnel: Option<Arc<T>>,
    log_level: u32,
    users: Users,
    device_path: Option<String>,
    last_log: Option<(u32, String)>,
    /// Counts changes of the session manager; a deadline belongs to one of them.
    calls_for_manager: u64,
}

impl<P: Program> Service for ClientProcess<P> {
    fn interfaces(&self, path: &str) -> Option<&'static [&'static Interface]> {
        (path == path::CLIENT).then_some(&INTERFACES)
    }

    fn paths(&self) -> Vec<String> {
        vec![path::CLIENT.to_owned()]
    }

    async fn call(self: Arc<Self>, call: Call) -> Result<Body, CallError> {
        self.is_manager(&call.caller)?;
        match call.method.name {
            "RegistrationConfirmation" => {
                let (token, config_path): (String, OwnedObjectPath) = call.args()?;
                let name = self.register(&token, config_path.as_str()).await?;
                Ok(Body::of((name,)))
            }
            "SetSession" => {
                let (token, session_path): (String, OwnedObjectPath) = call.args()?;
                self.is_token(&token)?;
                self.lock().session_path = Some(session_path.to_string());
                register::attach(&self.bus, Some(session_path.as_str())).await;
                Ok(Body::none())
            }
            "SetUsers" => {
                let (uids, everybody): (Vec<u32>, bool) = call.args()?;
                self.set_users(if everybody {
                    Users::Everybody
                } else {
                    Users::Only(uids)
                });
                Ok(Body::none())
            }
            "Ping" => Ok(Body::of((true,))),
            "Connect" => self.connect().await,
            "Disconnect" | "ForceShutdown" => self.disconnect().await,
            "Pause" | "Resume" | "Restart" => self.steer(&call),
            "Ready" => self.lock().life.ready().map(|()| Body::none()),
            _ => self.questions(&call),
        }
    }

    async fn get(self: Arc<Self>, access: Access) -> Result<Value, CallError> {
        let state = self.lock();
        let connected = state.life.connected().filter(|_| state.life.is_running());
        Ok(match access.property.name {
            "session_path" => object_path(state.session_path.as_deref().unwrap_or("/__unknown")),
            "log_level" => state.log_level.into(),
            "session_name" => connected.map_or("", |up| up.host.as_str()).to_owned().into(),
            "statistics" => {
                let counts = state
                    .tunnel
                    .as_ref()
                    .map(|tunnel| tunnel.statistics())
                    .unwrap_or_default();
                let counts: Vec<_> = counts.into_iter().filter(|(_, count)| *count != 0).collect();
                statistics(&counts)?
            }
            "status" => state.life.status().parts().into(),
            "last_log_line" => last_log(state.last_log.as_ref(), &self.token),
            "dco" => false.into(),
            "device_path" => object_path(state.device_path.as_deref().unwrap_or("/")),
            "device_name" => connected
                .map_or("", |up| up.device_name.as_str())
                .to_owned()
                .into(),
            "connection" => connection(connected.filter(|_| state.life.is_up())),
            own => offer(own, connected),
        })
    }

    async fn set(self: Arc<Self>, access: Access, value: Value) -> Result<(), CallError> {
        self.is_manager(&access.caller)?;
        match (access.property.name, value) {
            ("log_level", Value::U32(level)) if level <= MAX_VERBOSITY => {
                let mut state = self.lock();
                state.log_level = level;
                if let Some(tunnel) = &state.tunnel {
                    tunnel.set_verbosity(level);
                }
                Ok(())
            }
            ("log_level", _) => Err(CallError::method("Incorrect log level")),
            ("dco", Value::Bool(false)) => Ok(()),
            _ => Err(CallError::method(NO_DCO)),
        }
    }

    fn on_owner(self: &Arc<Self>, name: &str, owner: Option<&str>) {
        match name {
            service::SESSIONS => self.on_manager(owner),
            service::LOG if owner.is_some() => {
                let (bus, session) = (self.bus.clone(), self.lock().session_path.clone());
                tokio::spawn(async move { register::attach(&bus, session.as_deref()).await });
            }
            service::NETCFG if owner.is_some() => {
                let process = Arc::clone(self);
                tokio::spawn(async move {
                    let connected = process.lock().life.connected().cloned();
                    if let Some(connected) = connected {
                        process.lock().device_path = None;
                        process.describe(&connected).await;
                    }
                });
            }
            _ => {}
        }
    }
}

/// There is no data channel in the kernel.
pub(crate) const NO_DCO: &str = "Data channel offload (DCO) is not available: the data channel of tunless runs in user space; leave dco off";

impl<P: Program> ClientProcess<P> {
    /// Introduces the process, and ends it where nobody answers.
    async fn start(self: Arc<Self>) {
        register::attach(&self.bus, None).await;
        register::request(&self.bus, &self.name, &self.token).await;
        tokio::time::sleep(register::REGISTRATION_DEADLINE).await;
        if self.lock().config_path.is_empty() {
            tracing::warn!("no session manager knows this process");
            self.end.cancel();
        }
    }

    /// Only the session manager is answered.
    fn is_manager(&self, caller: &Caller) -> Result<(), CallError> {
        if self.lock().manager.as_deref() == Some(caller.name.as_str()) {
            Ok(())
        } else {
            Err(CallError::method(
                "Access denied: only the session manager may call a client process",
            ))
        }
    }

    fn is_token(&self, token: &str) -> Result<(), CallError> {
        // As long as all tokens; where they differ first is nobody's to learn.
        let same = token.len() == self.token.len()
            && token
                .bytes()
                .zip(self.token.bytes())
                .fold(0, |sum, (a, b)| sum | (a ^ b))
                == 0;
        if same {
            Ok(())
        } else {
            Err(CallError::new(Domain::Registration, "Invalid token"))
        }
    }

    async fn register(self: &Arc<Self>, token: &str, config_path: &str) -> Result<String, CallError> {
        self.is_token(token)?;
        let _one = self.registering.lock().await;
        {
            let mut state = self.lock();
            if !state.config_path.is_empty() {
                // A session manager that was started anew.
                state.calls_for_manager += 1;
                return Ok(state.config_name.clone());
            }
        }
        let failed = |text: String| CallError::new(Domain::Registration, text);
        if register::wants_dco(&self.bus, config_path).await {
            return Err(failed(NO_DCO.to_owned()));
        }
        let fetched = register::fetch(&self.bus, config_path).await;
        let profile = fetched.map_err(|error| failed(format!("the profile cannot be read: {error}")))?;
        let name = profile.name.clone();
        let prepared = self.program.prepare(profile).map_err(failed)?;
        self.adopt(config_path, &name, prepared);
        self.teller.flush().await;
        Ok(name)
    }

    fn adopt(&self, config_path: &str, name: &str, prepared: Prepared<P::Tunnel>) {
        let mut state = self.lock();
        prepared.tunnel.set_users(state.users.clone());
        state.tunnel = Some(Arc::new(prepared.tunnel));
        config_path.clone_into(&mut state.config_path);
        name.clone_into(&mut state.config_name);
        state.log_level = prepared.log_level.unwrap_or(state.log_level).min(MAX_VERBOSITY);
        let mut notices = state.life.register(config_path, prepared.needs);
        let notes = prepared.notes.into_iter();
        notices.extend(notes.map(|note| Notice::Log(LogCategory::Info, note)));
        self.tell(&mut state, notices);
    }

    fn set_users(&self, users: Users) {
        let mut state = self.lock();
        state.users = users.clone();
        if let Some(tunnel) = &state.tunnel {
            tunnel.set_users(users);
        }
    }

    async fn connect(self: &Arc<Self>) -> Result<Body, CallError> {
        let (step, tunnel) = {
            let mut state = self.lock();
            let (notices, step) = state.life.connect()?;
            self.tell(&mut state, notices);
            (step, state.tunnel.clone())
        };
        let Some(tunnel) = tunnel else {
            return Err(CallError::new(
                Domain::Client,
                "Backend service is not initialized",
            ));
        };
        match step {
            Step::Nothing => {}
            Step::Answer(question, answer) => tunnel.answer(question, answer),
            Step::Start(answers) => match tunnel.connect(answers).await {
                Ok(events) => {
                    tokio::spawn(Arc::clone(self).follow(events));
                }
                Err(why) => self.on_event(Event::Ended(super::program::Ended::Failed(why))),
            },
        }
        // Whoever asks for the status after the answer sees that it connects.
        self.teller.flush().await;
        Ok(Body::none())
    }

    /// Tells what the tunnel tells, until it ends.
    async fn follow(self: Arc<Self>, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            if let Event::Connected(connected) = &event {
                self.describe(connected).await;
            }
            let is_end = matches!(event, Event::Ended(_));
            self.on_event(event);
            if is_end {
                break;
            }
        }
        let device = self.lock().device_path.take();
        if let Some(device) = device {
            device::remove(&self.bus, &device).await;
        }
        self.ended.notify_one();
        if self.lock().life.status().minor == crate::constants::StatusMinor::ConnDone {
            self.teller.flush().await;
            self.end.cancel();
        }
    }

    async fn describe(&self, connected: &Connected) {
        let known = self.lock().device_path.clone();
        match device::describe(&self.bus, known, &self.token, connected).await {
            Ok(path) => self.lock().device_path = Some(path),
            Err(error) => {
                self.lock().device_path = None;
                tracing::info!(%error, "the device is not shown by the network configuration service");
            }
        }
    }

    fn on_event(&self, event: Event) {
        let mut state = self.lock();
        let notices = state.life.on_event(event);
        self.tell(&mut state, notices);
    }

    /// Queues what is to be said; the lock on the state keeps the order.
    fn tell(&self, state: &mut State<P::Tunnel>, notices: Vec<Notice>) {
        for notice in &notices {
            if let Notice::Log(category, text) = notice {
                state.last_log = Some((*category as u32, text.clone()));
            }
        }
        let level = state.log_level;
        let shown = notices.into_iter().filter(|notice| match notice {
            Notice::Log(category, _) => is_shown(*category as u32, level),
            Notice::Status(_) | Notice::Attention(..) => true,
        });
        self.teller.tell(shown.collect());
    }

    fn steer(&self, call: &Call) -> Result<Body, CallError> {
        let reason = match call.method.name {
            "Pause" => printable(&call.args::<String>()?)
                .chars()
                .take(MAX_REASON)
                .collect(),
            _ => String::new(),
        };
        let mut state = self.lock();
        let notices = match call.method.name {
            "Pause" => state.life.pause(&reason)?,
            "Resume" => state.life.resume()?,
            _ => state.life.restart()?,
        };
        self.tell(&mut state, notices);
        if let Some(tunnel) = &state.tunnel {
            match call.method.name {
                "Pause" => tunnel.pause(),
                "Resume" => tunnel.resume(),
                _ => tunnel.restart(),
            }
        }
        Ok(Body::none())
    }

    fn questions(&self, call: &Call) -> Result<Body, CallError> {
        let mut state = self.lock();
        match call.method.name {
            "UserInputQueueGetTypeGroup" => Ok(Body::of((state.life.queue.groups(),))),
            "UserInputQueueCheck" => {
                let (attention, group): (u32, u32) = call.args()?;
                Ok(Body::of((state.life.queue.check(attention, group),)))
            }
            "UserInputQueueFetch" => {
                let (attention, group, id): (u32, u32, u32) = call.args()?;
                Ok(Body::of(state.life.queue.fetch(attention, group, id)?))
            }
            _ => {
                let (attention, group, id, value): (u32, u32, u32, String) = call.args()?;
                let value = Secret::new(value);
                let value = Secret::new(printable(value.trim_end_matches(['\r', '\n'])));
                state.life.queue.provide(attention, group, id, value)?;
                if let (Some((question, answer)), Some(tunnel)) = (state.life.provided(), &state.tunnel) {
                    tunnel.answer(question, answer);
                }
                Ok(Body::none())
            }
        }
    }

    /// Leaves the server, says the last words, and ends the process once the answer is out.
    async fn disconnect(self: &Arc<Self>) -> Result<Body, CallError> {
        self.stop().await;
        let end = self.end.clone();
        tokio::spawn(async move {
            // The answer goes out first.
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            end.cancel();
        });
        Ok(Body::none())
    }

    async fn stop(&self) {
        let (runs, tunnel) = {
            let mut state = self.lock();
            let (notices, runs) = state.life.disconnect();
            self.tell(&mut state, notices);
            (runs, state.tunnel.clone())
        };
        if let Some(tunnel) = tunnel.filter(|_| runs) {
            tunnel.disconnect();
            if tokio::time::timeout(LEAVE_DEADLINE, self.ended.notified())
                .await
                .is_err()
            {
                tracing::warn!("the tunnel does not end; the process ends without it");
            }
        }
        self.say_done();
        self.teller.flush().await;
    }

    fn say_done(&self) {
        let mut state = self.lock();
        let notices = state.life.done();
        self.tell(&mut state, notices);
    }

    /// The process ends, whatever the reason.
    async fn leave(&self) {
        if self.lock().life.is_running() {
            self.stop().await;
        }
        self.teller.flush().await;
        register::detach(&self.bus).await;
    }

    /// Another session manager, or none.
    fn on_manager(self: &Arc<Self>, owner: Option<&str>) {
        let change = {
            let mut state = self.lock();
            state.manager = owner.map(str::to_owned);
            state.calls_for_manager += 1;
            state.calls_for_manager
        };
        let process = Arc::clone(self);
        tokio::spawn(async move {
            if process.lock().manager.is_some() && process.lock().config_path.is_empty() {
                register::request(&process.bus, &process.name, &process.token).await;
                return;
            }
            process.await_manager(change).await;
        });
    }

    /// Wakes the session manager, and ends the process where none comes that knows it.
    async fn await_manager(&self, change: u64) {
        let ends = tokio::time::Instant::now() + register::ORPHAN_DEADLINE;
        while tokio::time::Instant::now() < ends {
            tokio::time::sleep(register::WAKE_PAUSE).await;
            let (is_same, is_gone) = {
                let state = self.lock();
                (state.calls_for_manager == change, state.manager.is_none())
            };
            if !is_same {
                return;
            }
            if is_gone {
                let ping = self.bus.call(
                    service::SESSIONS,
                    "/",
                    names::interface::PEER,
                    "Ping",
                    Body::none(),
                );
                if let Err(error) = ping.await {
                    tracing::debug!(%error, "no session manager yet");
                }
            }
        }
        if self.lock().calls_for_manager == change {
            tracing::warn!("no session manager wants this tunnel any more");
            self.end.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<P::Tunnel>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
