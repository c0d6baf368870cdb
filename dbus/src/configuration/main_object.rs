//! Methods of the main object: import, lists, another owner.

use std::{collections::BTreeSet, sync::Arc};

use nix::unistd::User;
use zbus::OwnedObjectPath;
use zeroize::Zeroizing;

use super::{
    Configuration,
    access::Who,
    object_path,
    option::OptionList,
    overrides::Overrides,
    profile::{Origin, Profile, Settings, fit_name},
};
use crate::{
    bus::{Body, Call},
    constants::{LogCategory, ProfileEvent},
    error::CallError,
    names::{self, path, printable},
};

/// Longest text of a profile, in bytes; ours.
const MAX_TEXT_BYTES: usize = 1 << 20;

impl Configuration {
    pub(super) async fn call_main(self: Arc<Self>, call: &Call) -> Result<Body, CallError> {
        let who = self.who(&call.caller);
        let found = match call.method.name {
            "Import" => return self.import(call, who).await,
            "TransferOwnership" => return self.transfer(call, who).await,
            "FetchAvailableConfigs" => self.registry.search(who, |_| true),
            "LookupConfigName" => {
                let name = printable(&call.args::<String>()?);
                self.registry
                    .search(who, |profile| profile.settings().name == name)
            }
            "SearchByTag" => {
                let tag = printable(&call.args::<String>()?);
                self.registry
                    .search(who, |profile| profile.settings().tags.contains(&tag))
            }
            "SearchByOwner" => {
                let owner = user(call.args()?).await?;
                self.registry
                    .search(who, |profile| profile.settings().owner == owner)
            }
            other => return Err(CallError::request(format!("{other} is not there"))),
        };
        let paths = found
            .iter()
            .map(|path| object_path(path).map(OwnedObjectPath::into_inner));
        Ok(Body::of((paths.collect::<Result<Vec<_>, _>>()?,)))
    }

    async fn import(&self, call: &Call, who: Who) -> Result<Body, CallError> {
        let (name, text, single_use, persistent) = call.args::<(String, String, bool, bool)>()?;
        let (name, text) = (fit_name(&name)?, Zeroizing::new(text));
        if persistent && self.store.is_none() {
            return Err(CallError::request(
                "The service was started without a folder, and stores no persistent profiles",
            ));
        }
        let options = self.read(&text)?;
        let origin = Origin {
            path: format!("{}/{}", path::CONFIGURATION, names::profile_id()),
            persistent,
            single_use,
            import_timestamp: super::now(),
        };
        let settings = Settings {
            owner: who.uid,
            name,
            tags: Vec::new(),
            last_used_timestamp: 0,
            used_count: 0,
            locked_down: false,
            transfer_owner_session: false,
            readonly: false,
            public_access: false,
            acl: BTreeSet::new(),
            overrides: Overrides::new(),
            removed: false,
        };
        let profile = self.registry.add(Profile::new(origin, options, settings))?;
        let path = profile.origin.path.clone();
        if let Err(error) = self.save(&profile).await {
            self.registry.take(&path);
            return Err(error);
        }
        let line = format!("the profile {path} was imported by user {}", who.uid);
        self.log.log(LogCategory::Verb1, &line).await;
        self.announce(&path, ProfileEvent::Created, who.uid).await;
        Ok(Body::of((object_path(&path)?.into_inner(),)))
    }

    fn read(&self, text: &str) -> Result<OptionList, CallError> {
        let invalid = |why: String| CallError::request(format!("Invalid configuration profile: {why}"));
        if text.len() > MAX_TEXT_BYTES {
            return Err(invalid(format!("it is larger than {MAX_TEXT_BYTES} bytes")));
        }
        let clean = Zeroizing::new(without_controls(text));
        let options = self.reader.read(&clean).map_err(invalid)?;
        OptionList::new(options).map_err(invalid)
    }

    async fn transfer(&self, call: &Call, who: Who) -> Result<Body, CallError> {
        let (path, owner) = call.args::<(OwnedObjectPath, u32)>()?;
        // A profile that is not there is none of anybody's: nothing happens.
        if let Some(profile) = self.registry.find(path.as_str()) {
            let from = profile.settings().owner;
            profile.transfer(who, owner)?;
            self.save(&profile).await?;
            let line = format!("the profile {path} went from user {from} to user {owner}");
            self.log.log(LogCategory::Info, &line).await;
        }
        Ok(Body::none())
    }
}

/// Takes out what no profile needs; lines and tabulators stay.
fn without_controls(text: &str) -> String {
    let kept = |letter: &char| !letter.is_control() || matches!(letter, '\n' | '\t');
    text.chars().filter(kept).collect()
}

/// The user of that name or number.
async fn user(text: String) -> Result<u32, CallError> {
    if let Ok(uid) = text.parse() {
        return Ok(uid);
    }
    let name = printable(&text);
    // The list of users may be on another machine.
    let asked = name.clone();
    let found = tokio::task::spawn_blocking(move || User::from_name(&asked)).await;
    match found {
        Ok(Ok(Some(user))) => Ok(user.uid.as_raw()),
        Ok(Ok(None)) => Err(CallError::request(format!("There is no user '{name}'"))),
        Ok(Err(error)) => Err(CallError::request(format!(
            "The user '{name}' cannot be looked up: {error}"
        ))),
        Err(error) => Err(CallError::request(format!(
            "The user '{name}' cannot be looked up: {error}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_keeps_its_lines_and_loses_other_control_characters() {
        assert_eq!(
            without_controls("client\r\nremote\th\u{0}\u{7f}\u{1b}[0m\n"),
            "client\nremote\th[0m\n"
        );
    }

    #[tokio::test]
    async fn users_are_known_by_name_and_number() {
        assert_eq!(user("4711".to_owned()).await.unwrap(), 4711);
        assert_eq!(user("root".to_owned()).await.unwrap(), 0);
        let error = user("no such\nuser".to_owned()).await.unwrap_err();
        assert_eq!(error.to_string(), "There is no user 'no suchuser'");
    }
}
