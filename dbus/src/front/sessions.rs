//! Sessions as a front end sees them.

use std::collections::HashMap;

use zbus::{OwnedObjectPath, OwnedVariant};

use crate::{
    bus::{Body, Bus, RemoteError, Value},
    constants::Status,
    names::{interface, path, service},
};

/// What `Ready` fails with while something is to be answered.
const READY_ERROR: &str = "2eerror_2eready.Code36";

/// The session manager.
#[derive(Debug, Clone)]
pub struct Sessions {
    bus: Bus,
}

/// A session that cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The services.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// None.
    #[error(
        "no session has the profile name, the path or the interface {0:?}; `tunless sessions list` shows them"
    )]
    None(String),
    /// More than one.
    #[error("{0:?} names {1} sessions; name one by its path, which `tunless sessions list` shows")]
    Several(String, usize),
}

impl Sessions {
    /// The session manager on `bus`.
    pub fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone() }
    }

    async fn manager<T: serde::de::DeserializeOwned + zbus::Type>(
        &self,
        method: &str,
        body: Body,
    ) -> Result<T, RemoteError> {
        let (to, on) = (service::SESSIONS, interface::SESSIONS);
        self.bus.ask(to, path::SESSIONS, on, method, body).await
    }

    fn at(&self, path: &(impl ToString + ?Sized)) -> Session {
        Session {
            bus: self.bus.clone(),
            path: path.to_string(),
        }
    }

    /// Starts a client process for a profile.
    ///
    /// # Errors
    /// What the session manager says.
    pub async fn start(&self, profile: &str) -> Result<Session, RemoteError> {
        let path = zbus::ObjectPath::try_from(profile.to_owned()).map_err(|error| RemoteError {
            name: String::new(),
            text: error.to_string(),
        })?;
        let session: OwnedObjectPath = self.manager("NewTunnel", Body::of((path,))).await?;
        Ok(self.at(&session))
    }

    /// All sessions that we may use.
    ///
    /// # Errors
    /// What the session manager says.
    pub async fn all(&self) -> Result<Vec<Session>, RemoteError> {
        let paths: Vec<OwnedObjectPath> = self.manager("FetchAvailableSessions", Body::none()).await?;
        Ok(paths.iter().map(|path| self.at(path)).collect())
    }

    /// The one session with this path, profile name or interface.
    ///
    /// # Errors
    /// None, or more than one.
    pub async fn find(&self, word: &str) -> Result<Session, LookupError> {
        if word.starts_with(path::SESSIONS) {
            return Ok(self.at(word));
        }
        let named: Vec<OwnedObjectPath> = self
            .manager("LookupConfigName", Body::of((word.to_owned(),)))
            .await?;
        match &named[..] {
            [one] => Ok(self.at(one)),
            [] => {
                let found = self.manager::<OwnedObjectPath>("LookupInterface", Body::of((word.to_owned(),)));
                let found = found.await.map_err(|_none| LookupError::None(word.to_owned()))?;
                Ok(self.at(&found))
            }
            several => Err(LookupError::Several(word.to_owned(), several.len())),
        }
    }
}

/// One thing that a session asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    slot: (u32, u32, u32),
    /// What is asked, for people.
    pub description: String,
    /// Whether the answer must not be seen.
    pub hidden: bool,
}

/// A session.
#[derive(Debug, Clone)]
pub struct Session {
    bus: Bus,
    /// Its path.
    pub path: String,
}

impl Session {
    /// Calls a method that gives nothing.
    ///
    /// # Errors
    /// What the session manager says.
    pub async fn tell(&self, method: &str, body: Body) -> Result<(), RemoteError> {
        let (to, on) = (service::SESSIONS, interface::SESSIONS);
        self.bus
            .call(to, &self.path, on, method, body)
            .await
            .map(|_reply| ())
    }

    /// Tells whether it can connect without anything being answered.
    ///
    /// # Errors
    /// Any other refusal.
    pub async fn is_ready(&self) -> Result<bool, RemoteError> {
        match self.tell("Ready", Body::none()).await {
            Ok(()) => Ok(true),
            Err(error) if error.name.ends_with(READY_ERROR) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Everything that is asked for now.
    ///
    /// # Errors
    /// What the session manager says.
    pub async fn asked(&self) -> Result<Vec<Asked>, RemoteError> {
        let (to, on) = (service::SESSIONS, interface::SESSIONS);
        let method = "UserInputQueueGetTypeGroup";
        let groups: Vec<(u32, u32)> = self.bus.ask(to, &self.path, on, method, Body::none()).await?;
        let mut asked = Vec::new();
        for group in groups {
            let ids: Vec<u32> = self
                .bus
                .ask(to, &self.path, on, "UserInputQueueCheck", Body::of(group))
                .await?;
            for id in ids {
                let body = Body::of((group.0, group.1, id));
                let slot: (u32, u32, u32, String, String, bool) = self
                    .bus
                    .ask(to, &self.path, on, "UserInputQueueFetch", body)
                    .await?;
                asked.push(Asked {
                    slot: (slot.0, slot.1, slot.2),
                    description: slot.4,
                    hidden: slot.5,
                });
            }
        }
        Ok(asked)
    }

    /// Answers something.
    ///
    /// # Errors
    /// What the session manager says.
    pub async fn answer(&self, asked: &Asked, value: &str) -> Result<(), RemoteError> {
        let (kind, group, id) = asked.slot;
        self.tell("UserInputProvide", Body::of((kind, group, id, value.to_owned())))
            .await
    }

    /// Its status.
    ///
    /// # Errors
    /// What the session manager says.
    pub async fn status(&self) -> Result<Status, RemoteError> {
        let value: OwnedVariant = self.property("status").await?;
        let (major, minor, text) = <(u32, u32, String)>::try_from(Value::from(value)).unwrap_or_default();
        Ok(Status::from_parts(major, minor, text).unwrap_or(Status::unset()))
    }

    /// One property.
    ///
    /// # Errors
    /// What the session manager says.
    pub async fn property<T: TryFrom<OwnedVariant>>(&self, name: &str) -> Result<T, RemoteError> {
        self.bus
            .property(service::SESSIONS, &self.path, interface::SESSIONS, name)
            .await
    }

    /// Properties that we may read: the standard ones, or those of our own interface.
    ///
    /// # Errors
    /// What the session manager says.
    pub async fn properties(&self, own: bool) -> Result<HashMap<String, Value>, RemoteError> {
        let on = if own {
            interface::SESSION1
        } else {
            interface::SESSIONS
        };
        let all = self.bus.properties(service::SESSIONS, &self.path, on).await?;
        Ok(all
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect())
    }

    /// Sets a property.
    ///
    /// # Errors
    /// What the session manager says.
    pub async fn set(&self, name: &str, value: Value) -> Result<(), RemoteError> {
        self.bus
            .set_property(service::SESSIONS, &self.path, interface::SESSIONS, name, value)
            .await
    }
}
