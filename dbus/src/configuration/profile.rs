//! One stored profile: its options, what was set beside them, and who may do what.
//!
//! Every access names its caller and is checked here. Options never change; the rest is behind one lock.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use zeroize::{Zeroize as _, Zeroizing};

use super::{
    access::{Right, Rules, Who},
    option::OptionList,
    overrides::{self, OverrideValue, Overrides},
    render,
};
use crate::{bus::Value, error::CallError, names::printable};

/// Longest name, in bytes; ours.
const MAX_NAME_BYTES: usize = 256;
/// Longest tag, in bytes.
const MAX_TAG_BYTES: usize = 128;
/// Tags of one profile; ours.
pub(super) const MAX_TAGS: usize = 64;
/// Users on the list of one profile; ours.
pub(super) const MAX_ACL: usize = 256;

/// What is known from the beginning and stays.
#[derive(Debug)]
pub(super) struct Origin {
    /// Object path.
    pub(super) path: String,
    /// Whether it outlives the service.
    pub(super) persistent: bool,
    /// Whether it is removed once a client process has fetched it.
    pub(super) single_use: bool,
    /// When it was imported, in seconds since 1970.
    pub(super) import_timestamp: u64,
}

/// What can change.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own")]
pub(super) struct Settings {
    pub(super) owner: u32,
    pub(super) name: String,
    pub(super) tags: Vec<String>,
    /// When a client process last fetched it, in seconds since 1970; 0 is never.
    pub(super) last_used_timestamp: u64,
    pub(super) used_count: u32,
    pub(super) locked_down: bool,
    pub(super) transfer_owner_session: bool,
    pub(super) readonly: bool,
    pub(super) public_access: bool,
    pub(super) acl: BTreeSet<u32>,
    pub(super) overrides: Overrides,
    /// Set once it is gone, so that nobody writes its file again.
    pub(super) removed: bool,
}

/// A stored profile.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) origin: Origin,
    pub(super) options: OptionList,
    /// What keeps it from being used.
    fault: Option<String>,
    /// About as many bytes of memory as its options take.
    pub(super) memory_bytes: usize,
    settings: Mutex<Settings>,
}

impl Profile {
    pub(super) fn new(origin: Origin, options: OptionList, settings: Settings) -> Self {
        Self {
            fault: options.fault(),
            memory_bytes: options.memory_bytes(),
            origin,
            options,
            settings: Mutex::new(settings),
        }
    }

    pub(super) fn is_valid(&self) -> bool {
        self.fault.is_none()
    }

    /// What can change, for reading; nothing is checked.
    pub(super) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whether `who` finds it in lists.
    pub(super) fn is_usable_by(&self, who: Who) -> bool {
        self.settings().rules().is_usable_by(who)
    }

    /// What can change, once `who` has the right to what follows.
    fn checked(&self, right: Right, who: Who) -> Result<MutexGuard<'_, Settings>, CallError> {
        let settings = self.settings();
        settings.rules().check(right, who)?;
        Ok(settings)
    }

    /// Checks that `who` has a right.
    pub(super) fn check(&self, right: Right, who: Who) -> Result<(), CallError> {
        self.checked(right, who).map(drop)
    }

    /// Says what keeps it from being used.
    pub(super) fn validate(&self, who: Who) -> Result<(), CallError> {
        self.check(Right::Use, who)?;
        self.fault
            .clone()
            .map_or(Ok(()), |fault| Err(CallError::method(fault)))
    }

    /// Its text.
    pub(super) fn text(&self, who: Who) -> Result<Zeroizing<String>, CallError> {
        self.check(Right::Fetch, who)?;
        Ok(render::text(self.options.as_slice()))
    }

    /// Its options as JSON.
    pub(super) fn json(&self, who: Who) -> Result<String, CallError> {
        self.check(Right::Fetch, who)?;
        let mut object = serde_json::Value::Object(render::json(self.options.as_slice()));
        let text = object.to_string();
        render::wipe(&mut object);
        Ok(text)
    }

    /// A client process has fetched it.
    pub(super) fn count_use(&self, now: u64) {
        let mut settings = self.settings();
        settings.used_count = settings.used_count.saturating_add(1);
        settings.last_used_timestamp = now;
    }

    pub(super) fn set_override(&self, who: Who, key: &str, value: &Value) -> Result<(), CallError> {
        let mut settings = self.checked(Right::Change, who)?;
        let value = overrides::read(key, value)?;
        settings.overrides.insert(key.to_owned(), value);
        Ok(())
    }

    pub(super) fn unset_override(&self, who: Who, key: &str) -> Result<(), CallError> {
        let mut settings = self.checked(Right::Change, who)?;
        match settings.overrides.remove(key) {
            Some(_) => Ok(()),
            None => Err(CallError::method(format!(
                "Override '{}' has not been set",
                printable(key)
            ))),
        }
    }

    pub(super) fn add_tag(&self, who: Who, tag: &str) -> Result<(), CallError> {
        let mut settings = self.checked(Right::Change, who)?;
        let tag = printable(tag);
        if tag.is_empty() {
            return Err(CallError::method("Tag value cannot be empty"));
        }
        if tag.len() > MAX_TAG_BYTES {
            return Err(CallError::method("Tag value too long"));
        }
        if settings.tags.contains(&tag) {
            return Err(CallError::method("Tag already exists"));
        }
        if settings.tags.len() >= MAX_TAGS {
            return Err(CallError::method(format!(
                "A profile has at most {MAX_TAGS} tags"
            )));
        }
        settings.tags.push(tag);
        Ok(())
    }

    pub(super) fn remove_tag(&self, who: Who, tag: &str) -> Result<(), CallError> {
        let mut settings = self.checked(Right::Change, who)?;
        let found = settings.tags.iter().position(|known| known == tag);
        let at = found.ok_or_else(|| CallError::method("Non-existing tag"))?;
        settings.tags.remove(at);
        Ok(())
    }

    pub(super) fn grant(&self, who: Who, uid: u32) -> Result<(), CallError> {
        let mut settings = self.checked(Right::Change, who)?;
        if settings.acl.len() >= MAX_ACL && !settings.acl.contains(&uid) {
            return Err(CallError::method(format!(
                "A profile has at most {MAX_ACL} users beside its owner"
            )));
        }
        if uid == settings.owner || !settings.acl.insert(uid) {
            return Err(CallError::method("UID already granted access"));
        }
        Ok(())
    }

    pub(super) fn revoke(&self, who: Who, uid: u32) -> Result<(), CallError> {
        let mut settings = self.checked(Right::Change, who)?;
        if settings.acl.remove(&uid) {
            Ok(())
        } else {
            Err(CallError::method("UID not granted access"))
        }
    }

    /// Makes it unchangeable, for ever.
    pub(super) fn seal(&self, who: Who) -> Result<(), CallError> {
        let mut settings = self.checked(Right::Own, who)?;
        if !self.is_valid() {
            return Err(CallError::method("Configuration is not currently valid"));
        }
        settings.readonly = true;
        Ok(())
    }

    /// Gives it to another user. The bus lets root alone ask for this; where there is no such policy, the owner may,
    /// too, and nobody else.
    pub(super) fn transfer(&self, who: Who, owner: u32) -> Result<(), CallError> {
        let mut settings = self.settings();
        if who.uid != 0 {
            settings.rules().check(Right::Own, who)?;
        }
        settings.owner = owner;
        settings.acl.remove(&owner);
        Ok(())
    }

    /// Gives a property's value.
    pub(super) fn property(&self, who: Who, name: &str) -> Result<Value, CallError> {
        let right = match name {
            "owner" => Right::ReadOwner,
            "public_access" | "acl" | "single_use" => Right::ReadRights,
            _ => Right::Read,
        };
        let settings = self.checked(right, who)?;
        Ok(match name {
            "owner" => Value::from(settings.owner),
            "acl" => Value::from(settings.acl.iter().copied().collect::<Vec<u32>>()),
            "name" => Value::from(settings.name.clone()),
            "public_access" => Value::from(settings.public_access),
            "persistent" => Value::from(self.origin.persistent),
            "import_timestamp" => Value::from(self.origin.import_timestamp),
            "last_used_timestamp" => Value::from(settings.last_used_timestamp),
            "locked_down" => Value::from(settings.locked_down),
            "overrides" => Value::from(variants(&settings.overrides)),
            "readonly" => Value::from(settings.readonly),
            "single_use" => Value::from(self.origin.single_use),
            "tags" => Value::from(settings.tags.clone()),
            "transfer_owner_session" => Value::from(settings.transfer_owner_session),
            "used_count" => Value::from(settings.used_count),
            // There is no data channel in the kernel, so that this cannot be set.
            "dco" => Value::from(false),
            "valid" => Value::from(self.is_valid()),
            other => return Err(CallError::invalid_args(format!("No such property “{other}”"))),
        })
    }

    /// Sets a property to a value of its type.
    pub(super) fn set_property(&self, who: Who, name: &str, value: Value) -> Result<(), CallError> {
        let right = match name {
            "dco" | "transfer_owner_session" => Right::SetShared,
            _ => Right::Set,
        };
        let mut settings = self.checked(right, who)?;
        let wrong = |_error| CallError::invalid_args(format!("“{name}” has another type"));
        if name == "name" {
            settings.name = fit_name(&String::try_from(value).map_err(wrong)?)?;
            return Ok(());
        }
        let flag = bool::try_from(value).map_err(wrong)?;
        match name {
            "public_access" => settings.public_access = flag,
            "locked_down" => settings.locked_down = flag,
            "transfer_owner_session" => settings.transfer_owner_session = flag,
            "dco" if flag => return Err(no_dco()),
            "dco" => {}
            other => {
                return Err(CallError::invalid_args(format!(
                    "Property “{other}” is not writable"
                )));
            }
        }
        Ok(())
    }
}

impl Settings {
    pub(super) fn rules(&self) -> Rules<'_> {
        Rules {
            owner: self.owner,
            acl: &self.acl,
            public: self.public_access,
            locked_down: self.locked_down,
            sealed: self.readonly,
        }
    }
}

impl Drop for Profile {
    /// A proxy's password may be among the overrides.
    fn drop(&mut self) {
        for value in self.settings().overrides.values_mut() {
            if let OverrideValue::Text(text) = value {
                text.zeroize();
            }
        }
    }
}

fn variants(overrides: &Overrides) -> std::collections::HashMap<String, Value> {
    overrides
        .iter()
        .map(|(key, value)| (key.clone(), value.to_variant()))
        .collect()
}

fn no_dco() -> CallError {
    CallError::method("DCO is not available: tunless carries data itself, not in the kernel; leave `dco` off")
}

/// Takes a name without control characters.
pub(super) fn fit_name(name: &str) -> Result<String, CallError> {
    let name = printable(name);
    if name.is_empty() {
        return Err(CallError::request("A configuration profile needs a name"));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(CallError::request(format!(
            "The name of a configuration profile has at most {MAX_NAME_BYTES} bytes"
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests;
