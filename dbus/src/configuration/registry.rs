//! All profiles by their paths, within limits.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{access::Who, profile::Profile};
use crate::error::CallError;

/// Profiles altogether; ours.
pub(super) const MAX_PROFILES: usize = 4096;
/// Profiles of one user; ours.
const MAX_PROFILES_OF_ONE: usize = 1024;
/// Memory that one user's profiles take, in bytes; ours.
const MAX_BYTES_OF_ONE: usize = 64 << 20;
/// Memory that all profiles take, in bytes; ours.
const MAX_BYTES: usize = 512 << 20;

/// All profiles.
#[derive(Debug, Default)]
pub(super) struct Registry {
    profiles: Mutex<BTreeMap<String, Arc<Profile>>>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Profile>>> {
        self.profiles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a profile that somebody imports, unless there are too many.
    pub(super) fn add(&self, profile: Profile) -> Result<Arc<Profile>, CallError> {
        let mut profiles = self.lock();
        let owner = profile.settings().owner;
        let (mut own, mut own_bytes, mut bytes) = (1, profile.memory_bytes, profile.memory_bytes);
        for other in profiles.values() {
            bytes += other.memory_bytes;
            if other.settings().owner == owner {
                own += 1;
                own_bytes += other.memory_bytes;
            }
        }
        if own > MAX_PROFILES_OF_ONE || own_bytes > MAX_BYTES_OF_ONE {
            return Err(CallError::request(format!(
                "You have too many configuration profiles (at most {MAX_PROFILES_OF_ONE}, in {} MiB of memory); \
                 remove some first",
                MAX_BYTES_OF_ONE >> 20
            )));
        }
        if profiles.len() >= MAX_PROFILES || bytes > MAX_BYTES {
            return Err(CallError::request(
                "All users together have too many configuration profiles; remove some first",
            ));
        }
        let profile = Arc::new(profile);
        profiles.insert(profile.origin.path.clone(), Arc::clone(&profile));
        Ok(profile)
    }

    /// Adds profiles that were stored.
    pub(super) fn restore(&self, stored: Vec<Profile>) {
        let known = stored
            .into_iter()
            .map(|profile| (profile.origin.path.clone(), Arc::new(profile)));
        self.lock().extend(known);
    }

    /// The profile at `path`.
    pub(super) fn find(&self, path: &str) -> Option<Arc<Profile>> {
        self.lock().get(path).cloned()
    }

    /// Takes the profile at `path` out; it says from now on that it is removed. Of several who try, one succeeds.
    pub(super) fn take(&self, path: &str) -> Option<Arc<Profile>> {
        let profile = self.lock().remove(path)?;
        profile.settings().removed = true;
        Some(profile)
    }

    /// Every path.
    pub(super) fn paths(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Paths of those that `who` may use and that `fits` chooses, the oldest first.
    pub(super) fn search(&self, who: Who, fits: impl Fn(&Profile) -> bool) -> Vec<String> {
        let profiles = self.lock();
        let found = profiles
            .values()
            .filter(|profile| profile.is_usable_by(who) && fits(profile));
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|profile| profile.origin.import_timestamp);
        found.iter().map(|profile| profile.origin.path.clone()).collect()
    }

    /// Tells whether a profile would be lost with the process.
    pub(super) fn has_volatile(&self) -> bool {
        self.lock().values().any(|profile| !profile.origin.persistent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::{
        fixtures::option,
        option::OptionList,
        profile::{Origin, Settings},
    };

    fn profile(owner: u32, number: usize, bytes: usize) -> Profile {
        let origin = Origin {
            path: format!("/p/{owner}/{number}"),
            persistent: owner == 1,
            single_use: false,
            import_timestamp: u64::MAX - number as u64,
        };
        let settings = Settings {
            owner,
            name: format!("n{number}"),
            ..Settings::default()
        };
        let options = OptionList::new(vec![option("x", &[&"y".repeat(bytes)])]).unwrap();
        Profile::new(origin, options, settings)
    }

    fn who(uid: u32) -> Who {
        Who { uid, service: 990 }
    }

    #[test]
    fn one_user_cannot_use_up_all_room() {
        let registry = Registry::default();
        for number in 0..MAX_PROFILES_OF_ONE {
            registry.add(profile(2, number, 1)).unwrap();
        }
        assert!(registry.add(profile(2, 9999, 1)).is_err());
        registry.add(profile(1, 0, MAX_BYTES_OF_ONE - 1000)).unwrap();
        assert!(registry.add(profile(1, 1, 1000)).is_err());
        registry.take("/p/2/5").unwrap();
        registry.add(profile(2, 9999, 1)).unwrap();
    }

    #[test]
    fn there_is_a_limit_for_all_together() {
        let registry = Registry::default();
        let full = (0..MAX_PROFILES).map(|number| profile(3, number, 1)).collect();
        registry.restore(full);
        let refused = registry.add(profile(4, 0, 1)).unwrap_err();
        assert!(refused.to_string().contains("All users together"));
    }

    #[test]
    fn only_what_may_be_used_is_found_the_oldest_first() {
        let registry = Registry::default();
        for (owner, number) in [(1, 0), (1, 1), (2, 0)] {
            registry.add(profile(owner, number, 1)).unwrap();
        }
        assert_eq!(registry.search(who(1), |_| true), ["/p/1/1", "/p/1/0"]);
        assert!(registry.search(who(0), |_| true).is_empty());
        let named = |name: &str| registry.search(who(1), |profile| profile.settings().name == name);
        assert_eq!(named("n1"), ["/p/1/1"]);
        assert!(named("n").is_empty());
    }

    #[test]
    fn a_profile_is_taken_out_once_and_knows_it() {
        let registry = Registry::default();
        let added = registry.add(profile(2, 0, 1)).unwrap();
        assert!(registry.has_volatile());
        assert!(registry.take("/p/2/0").is_some() && registry.take("/p/2/0").is_none());
        assert!(added.settings().removed && registry.find("/p/2/0").is_none());
        registry.add(profile(1, 0, 1)).unwrap();
        assert!(!registry.has_volatile());
    }
}
