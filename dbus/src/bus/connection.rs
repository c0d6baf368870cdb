//! What goes out: calls to others, signals, and questions to the bus itself.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use tokio::sync::watch;
use zbus::{Connection, Message, OwnedVariant, Type, connection::Builder, fdo, message::Sequence};

use super::{
    address::BusAddress,
    call::{Body, Caller, Value, read_body},
};
use crate::{
    error::{CallError, bare_text},
    names::{interface, path, service},
};

/// Longest wait for another service; front ends wait 5 s for us.
const CALL_TIMEOUT: Duration = Duration::from_millis(4500);
/// `DBUS_NAME_FLAG_DO_NOT_QUEUE`.
const DO_NOT_QUEUE: u32 = 4;
/// `DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER` and `…_ALREADY_OWNER`.
const OWNER_REPLIES: [u32; 2] = [1, 4];

/// Why there is no way to the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Nobody answers there.
    #[error("cannot connect to the {bus} bus")]
    Connect {
        /// Which.
        bus: String,
        /// What the library says.
        #[source]
        source: zbus::Error,
    },
    /// A name that others have, or that the bus's policy keeps.
    #[error(
        "the bus does not let this user have the name {name}; its policy files come with `tunless dbus install`"
    )]
    Name {
        /// The name.
        name: String,
        /// What the bus says.
        #[source]
        source: RemoteError,
    },
    /// The name is taken.
    #[error("{0} is running already")]
    Taken(String),
    /// A folder that the service keeps its files in cannot be used.
    #[error("the folder {} cannot be used", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The bus does not answer a question.
    #[error("the bus does not answer")]
    Remote(#[from] RemoteError),
}

/// A call to somebody else that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", bare_text(text))]
pub struct RemoteError {
    /// The error's name; empty where the call did not get through.
    pub name: String,
    /// The error's text as it came.
    pub text: String,
}

impl From<zbus::Error> for RemoteError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others are failures of the connection"
    )]
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, text, _) => Self {
                name: name.to_string(),
                text: text.unwrap_or_default(),
            },
            zbus::Error::FDO(error) => Self {
                name: zbus::DBusError::name(&*error).to_string(),
                text: zbus::DBusError::description(&*error)
                    .unwrap_or_default()
                    .to_owned(),
            },
            other => Self {
                name: String::new(),
                text: other.to_string(),
            },
        }
    }
}

impl RemoteError {
    fn unreadable(error: &CallError) -> Self {
        Self {
            name: String::new(),
            text: error.to_string(),
        }
    }

    /// Tells whether nobody has the name that was called, or its owner did not answer.
    pub fn is_unanswered(&self) -> bool {
        self.name.is_empty()
            || [
                ".NoReply",
                ".ServiceUnknown",
                ".NameHasNoOwner",
                ".Timeout",
                ".Disconnected",
            ]
            .iter()
            .any(|end| self.name.ends_with(end))
    }
}

/// A connection to a bus; clones are the same.
#[derive(Debug, Clone)]
pub struct Bus {
    connection: Connection,
    /// How far the loop has come that serves this connection; nothing while none does.
    served: Arc<watch::Sender<Option<Sequence>>>,
}

impl Bus {
    /// Connects.
    ///
    /// # Errors
    /// [`BusError::Connect`].
    pub async fn connect(address: &BusAddress) -> Result<Self, BusError> {
        let builder = match address {
            BusAddress::System => Builder::system(),
            BusAddress::Session => Builder::session(),
            BusAddress::At(address) => Builder::address(address.as_str()),
        };
        let connected = builder.method_timeout(CALL_TIMEOUT).build().await;
        let connection = connected.map_err(|source| BusError::Connect {
            bus: address.to_string(),
            source,
        })?;
        Ok(Self {
            connection,
            served: Arc::new(watch::Sender::new(None)),
        })
    }

    /// The loop has taken everything up to here; `None` where it has ended.
    pub(super) fn set_served(&self, upto: Option<Sequence>) {
        self.served.send_replace(upto);
    }

    /// Waits until the loop has taken what came before `reply`: a signal that was sent before an answer is known
    /// before the answer is.
    async fn catch_up(&self, reply: &Message) {
        let position = reply.recv_position();
        let mut served = self.served.subscribe();
        // The sender lives as long as this connection.
        let _closed = served
            .wait_for(|upto| upto.is_none_or(|upto| upto >= position))
            .await;
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Our own unique name.
    pub fn unique_name(&self) -> String {
        self.connection
            .unique_name()
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    /// Waits until the bus is gone.
    pub async fn closed(&self) {
        self.connection.closed().await;
    }

    /// Takes a well-known name.
    ///
    /// # Errors
    /// [`BusError::Taken`] where somebody has it, [`BusError::Name`] where the bus does not allow it.
    pub async fn take_name(&self, name: &str) -> Result<(), BusError> {
        let asked = self.ask_bus::<u32>("RequestName", Body::of((name.to_owned(), DO_NOT_QUEUE)));
        let reply = asked.await.map_err(|source| BusError::Name {
            name: name.to_owned(),
            source,
        })?;
        if OWNER_REPLIES.contains(&reply) {
            Ok(())
        } else {
            Err(BusError::Taken(name.to_owned()))
        }
    }

    /// Calls a method.
    ///
    /// # Errors
    /// What the other side says, or that it does not answer within 4.5 s.
    pub async fn call(
        &self,
        to: &str,
        path: &str,
        interface: &str,
        method: &str,
        body: Body,
    ) -> Result<Message, RemoteError> {
        let reply = match body.into_values() {
            Some(values) => {
                self.connection
                    .call_method(Some(to), path, Some(interface), method, &values)
                    .await
            }
            None => {
                self.connection
                    .call_method(Some(to), path, Some(interface), method, &())
                    .await
            }
        };
        match &reply {
            Ok(message) | Err(zbus::Error::MethodError(_, _, message)) => self.catch_up(message).await,
            Err(_) => {}
        }
        Ok(reply?)
    }

    /// Calls a method and reads what it gives.
    ///
    /// # Errors
    /// As [`Bus::call`], and where the answer is of another type.
    pub async fn ask<T: DeserializeOwned + Type>(
        &self,
        to: &str,
        path: &str,
        interface: &str,
        method: &str,
        body: Body,
    ) -> Result<T, RemoteError> {
        let reply = self.call(to, path, interface, method, body).await?;
        read_body(&reply).map_err(|error| RemoteError::unreadable(&error))
    }

    /// Reads a property.
    ///
    /// # Errors
    /// What the other side says, and where the value is of another type.
    pub async fn property<T: TryFrom<OwnedVariant>>(
        &self,
        to: &str,
        path: &str,
        interface: &str,
        property: &str,
    ) -> Result<T, RemoteError> {
        let body = Body::of((interface.to_owned(), property.to_owned()));
        let value: OwnedVariant = self.ask(to, path, interface::PROPERTIES, "Get", body).await?;
        T::try_from(value).map_err(|_other| RemoteError {
            name: String::new(),
            text: format!("the property {property} of {to} is of another type"),
        })
    }

    /// Reads all properties that we may read.
    ///
    /// # Errors
    /// What the other side says.
    pub async fn properties(
        &self,
        to: &str,
        path: &str,
        interface: &str,
    ) -> Result<HashMap<String, OwnedVariant>, RemoteError> {
        let body = Body::of((interface.to_owned(),));
        self.ask(to, path, interface::PROPERTIES, "GetAll", body).await
    }

    /// Sets a property.
    ///
    /// # Errors
    /// What the other side says.
    pub async fn set_property(
        &self,
        to: &str,
        path: &str,
        interface: &str,
        property: &str,
        value: Value,
    ) -> Result<(), RemoteError> {
        let body = Body::of((interface.to_owned(), property.to_owned(), value));
        self.call(to, path, interface::PROPERTIES, "Set", body)
            .await
            .map(|_reply| ())
    }

    /// Sends a signal, to one connection or to all that listen.
    pub async fn signal(&self, to: Option<&str>, path: &str, interface: &str, name: &str, body: Body) {
        let sent = match body.into_values() {
            Some(values) => {
                self.connection
                    .emit_signal(to, path, interface, name, &values)
                    .await
            }
            None => self.connection.emit_signal(to, path, interface, name, &()).await,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, name, "a signal could not be sent");
        }
    }

    /// Whose a connection is.
    ///
    /// # Errors
    /// Where the bus does not know it (any more).
    pub async fn caller(&self, name: &str) -> Result<Caller, RemoteError> {
        let known: fdo::ConnectionCredentials = self
            .ask_bus("GetConnectionCredentials", Body::of((name.to_owned(),)))
            .await?;
        let uid = known.unix_user_id().ok_or_else(|| RemoteError {
            name: String::new(),
            text: format!("the bus does not know the user of {name}"),
        })?;
        Ok(Caller {
            name: name.to_owned(),
            uid,
            pid: known.process_id().unwrap_or_default(),
        })
    }

    /// The unique name of a well-known name's owner; `None` while nobody has it.
    pub async fn owner(&self, name: &str) -> Option<String> {
        self.ask_bus("GetNameOwner", Body::of((name.to_owned(),)))
            .await
            .ok()
    }

    /// Every name on the bus.
    ///
    /// # Errors
    /// Where the bus does not answer.
    pub async fn names(&self) -> Result<Vec<String>, RemoteError> {
        self.ask_bus("ListNames", Body::none()).await
    }

    /// Has the bus read its configuration and its activation files again; root may.
    ///
    /// # Errors
    /// Where the bus does not answer, or refuses.
    pub async fn reload_config(&self) -> Result<(), RemoteError> {
        let bus = service::DBUS;
        self.call(bus, path::DBUS, interface::DBUS, "ReloadConfig", Body::none())
            .await
            .map(|_reply| ())
    }

    /// Every name that the bus can start a service for.
    ///
    /// # Errors
    /// Where the bus does not answer.
    pub async fn activatable_names(&self) -> Result<Vec<String>, RemoteError> {
        self.ask_bus("ListActivatableNames", Body::none()).await
    }

    /// Has signals that match `rule` delivered to [`super::Service::on_signal`].
    ///
    /// # Errors
    /// Where the bus does not answer.
    pub async fn watch(&self, rule: &str) -> Result<(), RemoteError> {
        let bus = service::DBUS;
        self.call(
            bus,
            path::DBUS,
            interface::DBUS,
            "AddMatch",
            Body::of((rule.to_owned(),)),
        )
        .await
        .map(|_reply| ())
    }

    /// Has changes of the owners of all names below `net.openvpn.v3` delivered.
    ///
    /// # Errors
    /// Where the bus does not answer.
    pub async fn watch_owners(&self) -> Result<(), RemoteError> {
        let namespace = service::NAMESPACE;
        self.watch(&format!(
            "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0namespace='{namespace}'"
        ))
        .await
    }

    /// Has the end of every connection delivered, as a change of its unique name's owner to nobody.
    ///
    /// One rule for all: with one for each name there would be a moment between learning a name and watching it, and
    /// as many rules as names, which the bus limits.
    ///
    /// # Errors
    /// Where the bus does not answer.
    pub async fn watch_ends(&self) -> Result<(), RemoteError> {
        self.watch("type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg2=''")
            .await
    }

    async fn ask_bus<T: DeserializeOwned + Type>(&self, method: &str, body: Body) -> Result<T, RemoteError> {
        self.ask(service::DBUS, path::DBUS, interface::DBUS, method, body)
            .await
    }
}
