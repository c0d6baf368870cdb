//! Stored profiles as a front end sees them.

use std::collections::HashMap;

use zbus::OwnedObjectPath;

use crate::{
    bus::{Body, Bus, RemoteError, Value},
    names::{interface, path, service},
};

/// The configuration service.
#[derive(Debug, Clone)]
pub struct Profiles {
    bus: Bus,
}

impl Profiles {
    /// The service on `bus`.
    pub fn new(bus: &Bus) -> Self {
        Self { bus: bus.clone() }
    }

    async fn manager<T: serde::de::DeserializeOwned + zbus::Type>(
        &self,
        method: &str,
        body: Body,
    ) -> Result<T, RemoteError> {
        let (to, on) = (service::CONFIGURATION, interface::CONFIGURATION);
        self.bus.ask(to, path::CONFIGURATION, on, method, body).await
    }

    /// Stores a profile; gives its path.
    ///
    /// # Errors
    /// What the service says.
    pub async fn import(
        &self,
        name: &str,
        text: &str,
        single_use: bool,
        persistent: bool,
    ) -> Result<String, RemoteError> {
        let body = Body::of((name.to_owned(), text.to_owned(), single_use, persistent));
        Ok(self.manager::<OwnedObjectPath>("Import", body).await?.to_string())
    }

    /// Paths of all profiles that we may use.
    ///
    /// # Errors
    /// What the service says.
    pub async fn all(&self) -> Result<Vec<String>, RemoteError> {
        let paths: Vec<OwnedObjectPath> = self.manager("FetchAvailableConfigs", Body::none()).await?;
        Ok(paths.iter().map(ToString::to_string).collect())
    }

    /// Paths of profiles with this name.
    ///
    /// # Errors
    /// What the service says.
    pub async fn named(&self, name: &str) -> Result<Vec<String>, RemoteError> {
        let body = Body::of((name.to_owned(),));
        let paths: Vec<OwnedObjectPath> = self.manager("LookupConfigName", body).await?;
        Ok(paths.iter().map(ToString::to_string).collect())
    }

    /// Calls a method of a profile that gives nothing.
    ///
    /// # Errors
    /// What the service says.
    pub async fn tell(&self, profile: &str, method: &str, body: Body) -> Result<(), RemoteError> {
        let (to, on) = (service::CONFIGURATION, interface::CONFIGURATION);
        self.bus
            .call(to, profile, on, method, body)
            .await
            .map(|_reply| ())
    }

    /// The profile's text.
    ///
    /// # Errors
    /// What the service says.
    pub async fn text(&self, profile: &str) -> Result<String, RemoteError> {
        let (to, on) = (service::CONFIGURATION, interface::CONFIGURATION);
        self.bus.ask(to, profile, on, "Fetch", Body::none()).await
    }

    /// Properties that we may read.
    ///
    /// # Errors
    /// What the service says.
    pub async fn properties(&self, profile: &str) -> Result<HashMap<String, Value>, RemoteError> {
        let all = self
            .bus
            .properties(service::CONFIGURATION, profile, interface::CONFIGURATION)
            .await?;
        Ok(all
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect())
    }

    /// Sets a property.
    ///
    /// # Errors
    /// What the service says.
    pub async fn set(&self, profile: &str, property: &str, value: Value) -> Result<(), RemoteError> {
        let (to, on) = (service::CONFIGURATION, interface::CONFIGURATION);
        self.bus.set_property(to, profile, on, property, value).await
    }
}
