//! The loop that serves objects: who calls, what, with which types, and how much at a time.
//!
//! The loop itself never waits for anybody: each call runs as a task of its own, so that a slow answer of another
//! service holds nobody up. What is open at a time is bounded, for each caller and for all together.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;
use zbus::{
    Message, MessageStream,
    message::{Flags, Sequence, Type},
};

use super::{
    call::{Access, Body, Call, Caller, Received, Value, read_body},
    connection::{Bus, BusError},
    interface::{INTROSPECTABLE, Interface, Method, PEER, PROPERTIES, Property},
    introspect,
};
use crate::{
    error::{CallError, Standard},
    names::{interface as names, service},
};

/// Calls of one connection that are answered at a time.
const MAX_CALLS_OF_ONE: usize = 64;
/// Calls that are answered at a time.
const MAX_CALLS: usize = 512;
/// Messages that wait for the loop.
const MAX_QUEUED: NonZeroUsize = NonZeroUsize::new(1024).expect("not zero");
/// Callers that are remembered; unique names are never used again, so that this is for speed alone.
const MAX_KNOWN_CALLERS: usize = 256;

/// What a service is made of. Calls come checked: the object, the method and the types are right.
pub trait Service: Send + Sync + 'static {
    /// The interfaces of the object at `path`; `None` where there is no object.
    fn interfaces(&self, path: &str) -> Option<&'static [&'static Interface]>;

    /// Paths of all objects, for introspection.
    fn paths(&self) -> Vec<String>;

    /// Answers a call.
    fn call(self: Arc<Self>, call: Call) -> impl Future<Output = Result<Body, CallError>> + Send;

    /// Gives a property's value.
    fn get(self: Arc<Self>, access: Access) -> impl Future<Output = Result<Value, CallError>> + Send;

    /// Sets a property to a value of its type.
    fn set(
        self: Arc<Self>,
        access: Access,
        value: Value,
    ) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Takes a signal. Must not wait: what takes time is spawned.
    fn on_signal(self: &Arc<Self>, signal: Received) {
        let _ = signal;
    }

    /// A watched name has another owner; `None` is nobody. Must not wait.
    fn on_owner(self: &Arc<Self>, name: &str, owner: Option<&str>) {
        let _ = (name, owner);
    }

    /// Tells whether there is anything that would be lost with the process.
    fn is_live(&self) -> bool {
        true
    }
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServeEnd {
    /// It was asked to.
    Shutdown,
    /// Nobody needed it for the time given.
    Idle,
    /// The bus is gone.
    BusGone,
}

/// A connection whose messages are taken from now on; see [`Serving::run`].
#[derive(Debug)]
pub struct Serving {
    bus: Bus,
    messages: MessageStream,
}

impl Serving {
    /// Takes the messages of this connection.
    pub fn new(bus: &Bus) -> Self {
        let mut messages = MessageStream::from(bus.connection());
        messages.set_max_queued(MAX_QUEUED);
        Self {
            bus: bus.clone(),
            messages,
        }
    }

    /// Takes `name` and serves until the end.
    ///
    /// # Errors
    /// Where the name cannot be had.
    pub async fn run<S: Service>(
        mut self,
        service: Arc<S>,
        name: Option<&str>,
        idle: Option<Duration>,
        shutdown: &CancellationToken,
    ) -> Result<ServeEnd, BusError> {
        let dispatch = Arc::new(Dispatch {
            bus: self.bus.clone(),
            service,
            callers: Mutex::default(),
            open: Mutex::default(),
        });
        if let Some(name) = name {
            self.bus.take_name(name).await?;
        }
        let ended = self.turn(&dispatch, idle, shutdown).await;
        self.bus.set_served(None);
        Ok(ended)
    }

    async fn turn<S: Service>(
        &mut self,
        dispatch: &Arc<Dispatch<S>>,
        idle: Option<Duration>,
        shutdown: &CancellationToken,
    ) -> ServeEnd {
        self.bus.set_served(Some(Sequence::default()));
        let mut last = Instant::now();
        loop {
            let tick = async {
                match idle {
                    Some(idle) => tokio::time::sleep(idle.saturating_sub(last.elapsed())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return ServeEnd::Shutdown,
                message = self.messages.next() => match message {
                    Some(Ok(message)) => {
                        let position = message.recv_position();
                        if dispatch.on_message(message) {
                            last = Instant::now();
                        }
                        self.bus.set_served(Some(position));
                    }
                    Some(Err(_)) | None => return ServeEnd::BusGone,
                },
                () = tick => {
                    if !dispatch.is_busy() && !dispatch.service.is_live() {
                        return ServeEnd::Idle;
                    }
                    last = Instant::now();
                }
            }
        }
    }
}

/// Takes a name and serves until the end.
///
/// # Errors
/// Where the name cannot be had.
pub async fn serve<S: Service>(
    bus: &Bus,
    service: Arc<S>,
    name: &str,
    idle: Option<Duration>,
    shutdown: &CancellationToken,
) -> Result<ServeEnd, BusError> {
    Serving::new(bus).run(service, Some(name), idle, shutdown).await
}

#[derive(Debug)]
struct Dispatch<S> {
    bus: Bus,
    service: Arc<S>,
    callers: Mutex<HashMap<String, Caller>>,
    /// Calls that are being answered, by caller.
    open: Mutex<HashMap<String, usize>>,
}

/// A call that counts until this is dropped.
struct Slot<S> {
    dispatch: Arc<Dispatch<S>>,
    sender: String,
}

impl<S> Drop for Slot<S> {
    fn drop(&mut self) {
        let mut open = lock(&self.dispatch.open);
        if let Some(count) = open.get_mut(&self.sender) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.sender);
            }
        }
    }
}

impl<S: Service> Dispatch<S> {
    /// Takes a message; tells whether it is somebody's use of the service.
    fn on_message(self: &Arc<Self>, message: Message) -> bool {
        match message.message_type() {
            Type::MethodCall => {
                self.on_call(message);
                true
            }
            Type::Signal => {
                if let Some(signal) = Received::new(message) {
                    self.on_signal(signal);
                }
                false
            }
            Type::MethodReturn | Type::Error => false,
        }
    }

    fn on_signal(self: &Arc<Self>, signal: Received) {
        if signal.sender != service::DBUS {
            self.service.on_signal(signal);
        } else if signal.member == "NameOwnerChanged"
            && let Some((name, _old, new)) = signal.args::<(String, String, String)>()
        {
            self.service
                .on_owner(&name, Some(new.as_str()).filter(|owner| !owner.is_empty()));
        }
    }

    fn on_call(self: &Arc<Self>, message: Message) {
        let Some(sender) = message.header().sender().map(ToString::to_string) else {
            return;
        };
        let dispatch = Arc::clone(self);
        match self.take_slot(&sender) {
            Some(slot) => {
                tokio::spawn(async move {
                    let answer = dispatch.answer(&message, &slot.sender).await;
                    dispatch.reply(&message, answer).await;
                    drop(slot);
                });
            }
            None => {
                // Answering waits for the socket; a flood must not hold up the loop.
                if self.has_room() {
                    tokio::spawn(async move {
                        let refused = CallError::standard(
                            Standard::LimitsExceeded,
                            "too many calls at a time; wait for answers first",
                        );
                        dispatch.reply(&message, Err(refused)).await;
                    });
                }
            }
        }
    }

    fn take_slot(self: &Arc<Self>, sender: &str) -> Option<Slot<S>> {
        let mut open = lock(&self.open);
        if open.values().sum::<usize>() >= MAX_CALLS {
            return None;
        }
        let count = open.entry(sender.to_owned()).or_default();
        if *count >= MAX_CALLS_OF_ONE {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Slot {
            dispatch: Arc::clone(self),
            sender: sender.to_owned(),
        })
    }

    fn has_room(&self) -> bool {
        lock(&self.open).values().sum::<usize>() < MAX_CALLS
    }

    fn is_busy(&self) -> bool {
        !lock(&self.open).is_empty()
    }

    async fn reply(&self, message: &Message, answer: Result<Body, CallError>) {
        let header = message.header();
        if header.primary().flags().contains(Flags::NO_REPLY_EXPECTED) {
            return;
        }
        let built = match answer {
            Ok(body) => body.answer(&header),
            Err(error) => {
                tracing::debug!(member = ?header.member(), %error, "refused");
                Message::error(&header, error.name()).build(&error.message())
            }
        };
        let sent = match built {
            Ok(message) => self.bus.connection().send(&message).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "an answer could not be sent");
        }
    }

    async fn answer(&self, message: &Message, sender: &str) -> Result<Body, CallError> {
        let header = message.header();
        let (Some(path), Some(member)) = (header.path(), header.member()) else {
            return Err(CallError::invalid_args("the call names no object or no method"));
        };
        let (path, member) = (path.as_str(), member.as_str());
        let wanted = header.interface().map(zbus::names::InterfaceName::as_str);
        // These two answer at every path.
        if let Some(answer) = self.answer_everywhere(message, path, wanted, member) {
            return answer;
        }
        let Some(interfaces) = self.service.interfaces(path) else {
            return Err(no_object(path, wanted, member));
        };
        let all = interfaces.iter().copied().chain([&PROPERTIES]);
        let (interface, method) = find(all, path, wanted, member)?;
        check_types(message, method)?;
        let caller = self.caller(sender).await?;
        if interface.name == names::PROPERTIES {
            return self.properties(message, caller, path, interfaces, member).await;
        }
        let call = Call {
            caller,
            path: path.to_owned(),
            interface,
            method,
            message: message.clone(),
        };
        Arc::clone(&self.service).call(call).await
    }

    fn answer_everywhere(
        &self,
        message: &Message,
        path: &str,
        wanted: Option<&str>,
        member: &str,
    ) -> Option<Result<Body, CallError>> {
        let is = |interface: &Interface| {
            wanted.is_none_or(|name| name == interface.name) && interface.method(member).is_some()
        };
        if is(&PEER) {
            return Some(match member {
                "Ping" => Ok(Body::none()),
                _ => machine_id(),
            });
        }
        if !is(&INTROSPECTABLE) {
            return None;
        }
        if let Err(error) = INTROSPECTABLE
            .method(member)
            .map_or(Ok(()), |method| check_types(message, method))
        {
            return Some(Err(error));
        }
        let interfaces = self.service.interfaces(path).unwrap_or_default();
        let xml = introspect::describe(path, interfaces, &self.service.paths());
        Some(Ok(Body::of((xml,))))
    }

    async fn properties(
        &self,
        message: &Message,
        caller: Caller,
        path: &str,
        interfaces: &'static [&'static Interface],
        member: &str,
    ) -> Result<Body, CallError> {
        let access = |interface, property| Access {
            caller: caller.clone(),
            path: path.to_owned(),
            interface,
            property,
        };
        match member {
            "Get" => {
                let (interface, name): (String, String) = read_body(message)?;
                let (interface, property) = find_property(interfaces, &interface, &name)?;
                let value = Arc::clone(&self.service).get(access(interface, property)).await;
                // In a tuple it becomes a variant by itself.
                Ok(Body::of((value.map_err(CallError::of_property)?,)))
            }
            "GetAll" => {
                let interface: String = read_body(message)?;
                // What a caller must not see, or what cannot be had, is left out: the object is there all the same.
                let mut all: HashMap<String, Value> = HashMap::new();
                for property in find_interface(interfaces, &interface)?.properties {
                    let interface = find_interface(interfaces, &interface)?;
                    if let Ok(value) = Arc::clone(&self.service).get(access(interface, property)).await {
                        all.insert(property.name.to_owned(), value);
                    }
                }
                Ok(Body::of((all,)))
            }
            _ => {
                let (interface, name, value) = read_set(message)?;
                let (interface, property) = find_property(interfaces, &interface, &name)?;
                if !property.writable {
                    return Err(CallError::invalid_args(format!(
                        "Property “{name}” is not writable"
                    )));
                }
                let found = value.value_signature().to_string();
                let value = if found == property.signature {
                    value
                } else {
                    return Err(CallError::invalid_args(format!(
                        "Error setting property “{name}”: Expected type “{}” but got “{found}”",
                        property.signature
                    )));
                };
                let set = Arc::clone(&self.service)
                    .set(access(interface, property), value)
                    .await;
                set.map_err(CallError::of_property)?;
                self.announce(path, interface, property).await;
                Ok(Body::none())
            }
        }
    }

    /// Says that a property has another value, without the value: not everybody who hears it may read it.
    async fn announce(&self, path: &str, interface: &Interface, property: &Property) {
        let body = Body::of((
            interface.name.to_owned(),
            HashMap::<String, Value>::new(),
            vec![property.name.to_owned()],
        ));
        self.bus
            .signal(None, path, names::PROPERTIES, "PropertiesChanged", body)
            .await;
    }

    async fn caller(&self, sender: &str) -> Result<Caller, CallError> {
        if let Some(known) = lock(&self.callers).get(sender) {
            return Ok(known.clone());
        }
        let caller = self.bus.caller(sender).await.map_err(|error| {
            tracing::debug!(%error, sender, "cannot tell whose a call is");
            CallError::denied("Access denied: the bus does not know the caller")
        })?;
        let mut callers = lock(&self.callers);
        if callers.len() >= MAX_KNOWN_CALLERS {
            callers.clear();
        }
        callers.insert(sender.to_owned(), caller.clone());
        Ok(caller)
    }
}

fn machine_id() -> Result<Body, CallError> {
    let read = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok());
    let id = read.ok_or_else(|| CallError::standard(Standard::Failed, "this machine has no id"))?;
    Ok(Body::of((id.trim().to_owned(),)))
}

/// Interface, property and value of a `Set`.
fn read_set(message: &Message) -> Result<(String, String, Value), CallError> {
    let (interface, name, value): (String, String, zbus::OwnedVariant) = read_body(message)?;
    Ok((interface, name, value.into()))
}

fn check_types(message: &Message, method: &Method) -> Result<(), CallError> {
    let (found, wanted) = (
        message.body().signature().to_string_no_parens(),
        method.input_signature(),
    );
    if found == wanted {
        Ok(())
    } else {
        Err(CallError::invalid_args(format!(
            "Type of message, “({found})”, does not match expected type “({wanted})”"
        )))
    }
}

fn find(
    mut interfaces: impl Iterator<Item = &'static Interface>,
    path: &str,
    wanted: Option<&str>,
    member: &str,
) -> Result<(&'static Interface, &'static Method), CallError> {
    let unknown = |text: String| CallError::standard(Standard::UnknownMethod, text);
    let no_method = || unknown(format!("No such method “{member}”"));
    match wanted {
        Some(name) => {
            let interface = interfaces.find(|interface| interface.name == name);
            let interface = interface
                .ok_or_else(|| unknown(format!("No such interface “{name}” on object at path {path}")))?;
            let method = interface.method(member).ok_or_else(no_method)?;
            Ok((interface, method))
        }
        None => interfaces
            .find_map(|interface| Some((interface, interface.method(member)?)))
            .ok_or_else(no_method),
    }
}

fn find_interface(
    interfaces: &'static [&'static Interface],
    name: &str,
) -> Result<&'static Interface, CallError> {
    interfaces
        .iter()
        .copied()
        .find(|interface| interface.name == name)
        .ok_or_else(|| CallError::invalid_args(format!("No such interface “{name}”")))
}

fn find_property(
    interfaces: &'static [&'static Interface],
    interface: &str,
    name: &str,
) -> Result<(&'static Interface, &'static Property), CallError> {
    let interface = find_interface(interfaces, interface)?;
    let property = interface
        .property(name)
        .ok_or_else(|| CallError::invalid_args(format!("No such property “{name}”")))?;
    Ok((interface, property))
}

/// What there is to say of a path without an object. A client that only asks whether something is there (`GetAll`)
/// takes the second form for a no; after the first it asks again for 1.5 s.
fn no_object(path: &str, wanted: Option<&str>, member: &str) -> CallError {
    let text = match wanted {
        Some(interface) if interface == names::PROPERTIES && member == "GetAll" => {
            format!("No such interface “{interface}” on object at path {path}")
        }
        _ => format!("Object does not exist at path “{path}”"),
    };
    CallError::standard(Standard::UnknownMethod, text)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
