//! Which devices there are, whose they are, and who hears of their changes. No bus here.

use std::collections::{BTreeMap, BTreeSet};

use super::{change::Change, check, device::Device};
use crate::{
    bus::Caller,
    error::{CallError, Domain},
    names::path,
};

/// Devices of one connection; a client process has one.
const MAX_DEVICES_OF_ONE: usize = 16;
/// Devices altogether.
const MAX_DEVICES: usize = 1024;
/// Connections that hear of changes.
const MAX_SUBSCRIBERS: usize = 64;

/// A device that is gone, and what there is to say of it.
#[derive(Debug)]
pub(super) struct Removed {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) changes: Vec<Change>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// By object path.
    devices: BTreeMap<String, Device>,
    /// Masks of the wanted changes, by unique name.
    subscribers: BTreeMap<String, u32>,
}

impl State {
    /// Makes a device; gives its path.
    pub(super) fn create(&mut self, creator: &Caller, name: &str) -> Result<String, CallError> {
        let name = check::device_name(name)?;
        let at = format!("{}/{}_{name}", path::NETCFG, creator.pid);
        if self.devices.contains_key(&at) {
            return Err(failed("The device exists already"));
        }
        let own = self
            .devices
            .values()
            .filter(|device| device.creator == creator.name);
        if self.devices.len() >= MAX_DEVICES || own.count() >= MAX_DEVICES_OF_ONE {
            return Err(failed("Too many devices"));
        }
        self.devices.insert(at.clone(), Device::new(creator, name));
        Ok(at)
    }

    pub(super) fn device(&self, path: &str) -> Option<&Device> {
        self.devices.get(path)
    }

    pub(super) fn device_mut(&mut self, path: &str) -> Option<&mut Device> {
        self.devices.get_mut(path)
    }

    pub(super) fn device_paths(&self) -> impl Iterator<Item = &String> {
        self.devices.keys()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.subscribers.is_empty()
    }

    pub(super) fn destroy(&mut self, path: &str) -> Option<Removed> {
        let mut device = self.devices.remove(path)?;
        Some(Removed {
            path: path.to_owned(),
            name: device.name().to_owned(),
            changes: device.disable(),
        })
    }

    /// Removes all devices of a process.
    pub(super) fn clean_up(&mut self, caller: &Caller) -> Vec<Removed> {
        self.destroy_all(|device| {
            device.creator == caller.name
                || caller.pid != 0 && device.pid == caller.pid && device.owner == caller.uid
        })
    }

    /// A connection has ended: its devices and its subscription end with it.
    pub(super) fn vanish(&mut self, name: &str) -> Vec<Removed> {
        self.subscribers.remove(name);
        self.destroy_all(|device| device.creator == name)
    }

    fn destroy_all(&mut self, is_meant: impl Fn(&Device) -> bool) -> Vec<Removed> {
        let meant = self.devices.iter().filter(|(_, device)| is_meant(device));
        let paths: Vec<String> = meant.map(|(path, _)| path.clone()).collect();
        paths.iter().filter_map(|path| self.destroy(path)).collect()
    }

    /// Has changes of these kinds told; replaces what the same connection wanted before.
    pub(super) fn subscribe(&mut self, name: &str, mask: u32) -> Result<(), CallError> {
        let mask = check::filter(mask)?;
        if self.subscribers.len() >= MAX_SUBSCRIBERS && !self.subscribers.contains_key(name) {
            return Err(failed("Too many subscribers"));
        }
        self.subscribers.insert(name.to_owned(), mask);
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, name: &str) -> Result<(), CallError> {
        let found = self.subscribers.remove(name);
        found.map(|_mask| ()).ok_or_else(|| failed("Not subscribed"))
    }

    pub(super) fn subscriptions(&self) -> Vec<(String, u32)> {
        self.subscribers
            .iter()
            .map(|(name, mask)| (name.clone(), *mask))
            .collect()
    }

    /// Who wants to hear of a change.
    pub(super) fn listeners(&self, change: &Change) -> impl Iterator<Item = &String> {
        let kind = change.kind as u32;
        let wanted = self.subscribers.iter().filter(move |(_, mask)| *mask & kind != 0);
        wanted.map(|(name, _)| name)
    }

    /// Resolvers of all devices that lend them to everybody, each once.
    pub(super) fn global_dns_servers(&self) -> Vec<String> {
        unique(self.global_devices().flat_map(Device::dns_servers))
    }

    /// Search domains of the same.
    pub(super) fn global_dns_search(&self) -> Vec<String> {
        unique(
            self.global_devices()
                .flat_map(|device| device.dns_domains().to_vec()),
        )
    }

    fn global_devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.values().filter(|device| device.has_global_dns())
    }
}

fn failed(text: &str) -> CallError {
    CallError::new(Domain::Netcfg, text)
}

/// The first of each.
fn unique(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    items.filter(|item| seen.insert(item.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: &str, pid: u32) -> Caller {
        Caller {
            name: name.to_owned(),
            uid: 1000,
            pid,
        }
    }

    fn up(state: &mut State, path: &str, name: &str) -> Vec<Change> {
        let device = state.device_mut(path).unwrap();
        device.add_dns(&["10.8.0.1".to_owned()]).unwrap();
        device.add_dns_search(&["corp".to_owned()]).unwrap();
        device.describe("netstack", name).unwrap()
    }

    #[test]
    fn a_device_is_named_by_its_process_and_exists_once() {
        let mut state = State::default();
        let path = state.create(&caller(":1.1", 42), "token").unwrap();
        assert_eq!(path, "/net/openvpn/v3/netcfg/42_token");
        assert!(state.create(&caller(":1.1", 42), "token").is_err());
        assert!(state.create(&caller(":1.1", 42), "a/b").is_err());
        assert!(state.destroy(&path).is_some() && state.destroy(&path).is_none());
    }

    #[test]
    fn devices_of_one_connection_are_limited() {
        let mut state = State::default();
        for number in 0..MAX_DEVICES_OF_ONE {
            state.create(&caller(":1.1", 42), &format!("d{number}")).unwrap();
        }
        assert!(state.create(&caller(":1.1", 42), "more").is_err());
        assert!(state.create(&caller(":1.2", 43), "more").is_ok());
    }

    #[test]
    fn devices_end_with_their_creator() {
        let mut state = State::default();
        let path = state.create(&caller(":1.1", 42), "a").unwrap();
        state.create(&caller(":1.2", 43), "b").unwrap();
        up(&mut state, &path, "netstack0");
        let removed = state.vanish(":1.1");
        assert_eq!(removed.len(), 1);
        assert_eq!(
            (removed[0].path.as_str(), removed[0].name.as_str()),
            (path.as_str(), "netstack0")
        );
        assert_eq!(removed[0].changes.last().unwrap().kind as u32, 2);
        assert_eq!(state.device_paths().count(), 1);
    }

    #[test]
    fn cleaning_up_is_by_process() {
        let mut state = State::default();
        state.create(&caller(":1.1", 42), "a").unwrap();
        state.create(&caller(":1.2", 42), "b").unwrap();
        state.create(&caller(":1.3", 43), "c").unwrap();
        state.create(&caller(":1.4", 0), "d").unwrap();
        let mut stranger = caller(":1.9", 42);
        stranger.uid = 1001;
        assert!(state.clean_up(&stranger).is_empty());
        assert!(state.clean_up(&caller(":1.9", 0)).is_empty());
        assert_eq!(state.clean_up(&caller(":1.2", 42)).len(), 2);
        assert_eq!(state.clean_up(&caller(":1.4", 0)).len(), 1);
    }

    #[test]
    fn subscribers_hear_what_they_want_to() {
        let mut state = State::default();
        let path = state.create(&caller(":1.1", 42), "a").unwrap();
        state.subscribe(":1.7", 1 | 128).unwrap();
        state.subscribe(":1.8", 512).unwrap();
        state.subscribe(":1.8", 65_535).unwrap();
        assert!(state.subscribe(":1.9", 0).is_err());
        assert_eq!(state.subscriptions().len(), 2);
        let heard: Vec<usize> = up(&mut state, &path, "netstack0")
            .iter()
            .map(|change| state.listeners(change).count())
            .collect();
        assert_eq!(heard, [2, 2, 1]);
        assert!(state.unsubscribe(":1.9").is_err());
        state.unsubscribe(":1.7").unwrap();
        state.vanish(":1.8");
        assert!(state.subscriptions().is_empty());
    }

    #[test]
    fn subscribers_are_limited() {
        let mut state = State::default();
        for number in 0..MAX_SUBSCRIBERS {
            state.subscribe(&format!(":1.{number}"), 1).unwrap();
        }
        assert!(state.subscribe(":2.1", 1).is_err());
        assert!(state.subscribe(":1.1", 2).is_ok());
    }

    #[test]
    fn resolvers_are_everybody_s_while_a_device_with_that_scope_is_up() {
        let mut state = State::default();
        let first = state.create(&caller(":1.1", 42), "a").unwrap();
        let second = state.create(&caller(":1.2", 43), "b").unwrap();
        assert!(state.global_dns_servers().is_empty());
        up(&mut state, &first, "netstack0");
        up(&mut state, &second, "netstack1");
        assert_eq!(state.global_dns_servers(), ["10.8.0.1"]);
        assert_eq!(state.global_dns_search(), ["corp"]);
        state.destroy(&first);
        state
            .device_mut(&second)
            .unwrap()
            .set_dns_scope("tunnel")
            .unwrap();
        assert!(state.global_dns_servers().is_empty());
    }
}
