//! Methods of a profile.

use std::sync::Arc;

use super::{
    Configuration,
    access::{Right, Who},
    gone, now,
    profile::Profile,
};
use crate::{
    bus::{Body, Call, Caller, Value},
    constants::LogCategory,
    error::CallError,
    names::service,
};

impl Configuration {
    pub(super) async fn call_profile(self: Arc<Self>, call: &Call) -> Result<Body, CallError> {
        let profile = self.profile(&call.path)?;
        let who = self.who(&call.caller);
        match call.method.name {
            "Validate" => {
                profile.validate(who)?;
                return Ok(Body::none());
            }
            "Fetch" => {
                let text = profile.text(who)?;
                self.used(&profile, &call.caller).await?;
                return Ok(Body::of((text.as_str().to_owned(),)));
            }
            "FetchJSON" => return Ok(Body::of((profile.json(who)?,))),
            "Remove" => {
                profile.check(Right::Own, who)?;
                let taken = self.registry.take(&call.path).ok_or_else(|| gone(&call.path))?;
                let line = format!("the profile {} was removed by user {}", call.path, who.uid);
                self.log.log(LogCategory::Verb1, &line).await;
                self.bury(taken).await;
                return Ok(Body::none());
            }
            // Takes anything and changes nothing, as it always has.
            "SetOption" => {
                profile.check(Right::Change, who)?;
                return Ok(Body::none());
            }
            _ => change(&profile, call, who)?,
        }
        self.save(&profile).await?;
        Ok(Body::none())
    }

    /// Counts what a client process fetches, and removes what may be used once.
    async fn used(self: &Arc<Self>, profile: &Arc<Profile>, caller: &Caller) -> Result<(), CallError> {
        if !self.is_client_process(caller).await {
            return Ok(());
        }
        profile.count_use(now());
        if !profile.origin.single_use {
            // The use counts, whether or not the disk is full.
            let _told = self.save(profile).await;
            return Ok(());
        }
        let path = &profile.origin.path;
        // Of two client processes, one gets it.
        let taken = self.registry.take(path).ok_or_else(|| gone(path))?;
        let configuration = Arc::clone(self);
        // The answer must not wait for the file.
        tokio::spawn(async move { configuration.bury(taken).await });
        Ok(())
    }

    /// Tells whether a call is a client process's: of the user of the services, and with the bus name of its process.
    async fn is_client_process(&self, caller: &Caller) -> bool {
        if caller.uid != self.service_uid || caller.pid == 0 {
            return false;
        }
        let name = format!("{}{}", service::CLIENT_PREFIX, caller.pid);
        match self.bus.owner(&name).await {
            Some(owner) if owner == caller.name => true,
            Some(owner) => self
                .bus
                .caller(&owner)
                .await
                .is_ok_and(|other| (other.uid, other.pid) == (caller.uid, caller.pid)),
            None => false,
        }
    }
}

/// Methods that change a profile and answer nothing.
fn change(profile: &Profile, call: &Call, who: Who) -> Result<(), CallError> {
    match call.method.name {
        "SetOverride" => {
            let (key, value) = call.args::<(String, zbus::OwnedVariant)>()?;
            profile.set_override(who, &key, &Value::from(value))
        }
        "UnsetOverride" => profile.unset_override(who, &call.args::<String>()?),
        "AddTag" => profile.add_tag(who, &call.args::<String>()?),
        "RemoveTag" => profile.remove_tag(who, &call.args::<String>()?),
        "AccessGrant" => profile.grant(who, call.args()?),
        "AccessRevoke" => profile.revoke(who, call.args()?),
        "Seal" => profile.seal(who),
        other => Err(CallError::request(format!("{other} is not there"))),
    }
}
