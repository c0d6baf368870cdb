//! A front end's side of the API: finding the bus with the services, and typed calls on profiles and sessions.

mod profiles;
mod sessions;

use std::env;

use futures_util::StreamExt as _;
use tokio::sync::mpsc::{self, error::TrySendError};
use zbus::MessageStream;

pub use self::{
    profiles::Profiles,
    sessions::{Asked, LookupError, Session, Sessions},
};
use crate::{
    bus::{Bus, BusAddress, BusError, Received, RemoteError},
    names::service,
};

/// Why there is nobody to talk to.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// The bus that was named.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// It does not answer.
    #[error("the bus does not answer")]
    Remote(#[from] RemoteError),
    /// No bus has the services.
    #[error(
        "no bus has the services of OpenVPN 3 Linux's D-Bus API; start them with `tunless dbus all --private`, or \
         install them for the whole host with `tunless dbus install`"
    )]
    Nowhere,
}

/// Finds the bus with the services: the one given, or the first that has them of the one that
/// `DBUS_SYSTEM_BUS_ADDRESS` names, the user's `private` one, the system bus, and the session bus.
///
/// # Errors
/// See [`FrontError`].
pub async fn find(given: Option<&BusAddress>, private: Option<BusAddress>) -> Result<Bus, FrontError> {
    if let Some(given) = given {
        return Ok(Bus::connect(given).await?);
    }
    if env::var_os("DBUS_SYSTEM_BUS_ADDRESS").is_some() {
        return Ok(Bus::connect(&BusAddress::System).await?);
    }
    for address in private
        .into_iter()
        .chain([BusAddress::System, BusAddress::Session])
    {
        match Bus::connect(&address).await {
            Ok(bus) if has_services(&bus).await => return Ok(bus),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, %address, "no bus there"),
        }
    }
    Err(FrontError::Nowhere)
}

async fn has_services(bus: &Bus) -> bool {
    let has = |names: Result<Vec<String>, RemoteError>| {
        names.is_ok_and(|names| names.iter().any(|name| name == service::SESSIONS))
    };
    has(bus.names().await) || has(bus.activatable_names().await)
}

/// Signals that wait to be taken; later ones are left out.
const MAX_WAITING: usize = 1024;

/// Signals that reach this connection, from now on.
///
/// A task of its own takes them off the connection: answers come the same way, and must not wait until somebody who is
/// asked something has answered.
#[derive(Debug)]
pub struct Signals {
    waiting: mpsc::Receiver<Received>,
}

impl Signals {
    /// Takes the signals of `bus`; which ones come is settled by [`Bus::watch`] and by who sends to us. Needs a tokio
    /// runtime.
    pub fn new(bus: &Bus) -> Self {
        let mut messages = MessageStream::from(bus.connection());
        let (taken, waiting) = mpsc::channel(MAX_WAITING);
        tokio::spawn(async move {
            while let Some(Ok(message)) = messages.next().await {
                if message.message_type() != zbus::message::Type::Signal {
                    continue;
                }
                match Received::new(message).map(|signal| taken.try_send(signal)) {
                    Some(Err(TrySendError::Closed(_))) => return,
                    Some(Err(TrySendError::Full(_))) => {
                        tracing::debug!("nobody takes signals, one is left out");
                    }
                    Some(Ok(())) | None => {}
                }
            }
        });
        Self { waiting }
    }

    /// Waits for the next one; `None` once the bus is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Received> {
        self.waiting.recv().await
    }
}
