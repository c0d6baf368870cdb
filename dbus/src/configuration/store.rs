//! The files of persistent profiles: one each, mode 0600, replaced as a whole, in a folder with mode 0700.
//!
//! A file that cannot be read is reported and left alone; what a crash left half written is removed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use super::{profile::Profile, record};
use crate::names::path;

/// Largest file that is read: an import's text with every quote escaped, and what stands beside it.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// Files that are read; ours, as many as there are profiles.
const MAX_FILES: usize = super::registry::MAX_PROFILES;
/// Letters in the last element of a profile's path.
const ID_LEN: usize = 36;

/// A folder of profiles.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    /// Held while a file is replaced or removed, so that the last one written is the newest.
    writing: Mutex<()>,
}

impl Store {
    /// Opens the folder, and makes it where there is none.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        Ok(Self {
            folder: folder.to_owned(),
            writing: Mutex::default(),
        })
    }

    /// Reads every profile; the texts say which files were left out, and why.
    pub(super) fn load(&self) -> io::Result<(Vec<Profile>, Vec<String>)> {
        let (mut profiles, mut warnings) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.folder)? {
            let file_name = entry?.file_name();
            let Some(name) = file_name.to_str() else { continue };
            if let Some(id) = name.strip_suffix(".json").filter(|id| is_id(id)) {
                if profiles.len() >= MAX_FILES {
                    warnings.push(format!(
                        "more than {MAX_FILES} profiles are stored; the others are left out"
                    ));
                    break;
                }
                match self.read(name, id) {
                    Ok(profile) => profiles.push(profile),
                    Err(why) => warnings.push(format!("the stored profile {name} is left out: {why}")),
                }
            } else if name.strip_suffix(".new").is_some_and(is_id) {
                // A crash came before it was renamed; it is half a profile, and may hold keys.
                if let Err(error) = fs::remove_file(self.folder.join(name)) {
                    warnings.push(format!("{name} cannot be removed: {error}"));
                }
            }
        }
        Ok((profiles, warnings))
    }

    fn read(&self, name: &str, id: &str) -> Result<Profile, String> {
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(self.folder.join(name));
        let file = opened.map_err(|error| error.to_string())?;
        let about = file.metadata().map_err(|error| error.to_string())?;
        if !about.is_file() {
            return Err("it is no ordinary file".to_owned());
        }
        if about.len() > MAX_FILE_BYTES {
            return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
        }
        if about.permissions().mode() & 0o077 != 0 {
            let closed = file.set_permissions(Permissions::from_mode(0o600));
            closed.map_err(|error| format!("others can read it: {error}"))?;
        }
        let room = usize::try_from(about.len()).unwrap_or_default() + 1;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        file.take(MAX_FILE_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|error| error.to_string())?;
        record::read(&bytes, &format!("{}/{id}", path::CONFIGURATION))
    }

    /// Writes a profile's file as it is now; nothing once it is removed. Waits for the disk.
    pub(super) fn save(&self, profile: &Profile) -> io::Result<()> {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock: whoever writes last writes the newest.
        let Some(bytes) = record::write(profile) else {
            return Ok(());
        };
        let id = id_of(profile);
        let (new, file) = (self.folder.join(format!("{id}.new")), self.file(profile));
        let written = write_new(&new, &bytes)
            .and_then(|()| fs::rename(&new, file))
            .and_then(|()| File::open(&self.folder)?.sync_all());
        if written.is_err() {
            // Whatever is left is removed at the next start, too.
            let _removed = fs::remove_file(&new);
        }
        drop(writing);
        written
    }

    /// Removes a profile's file. The profile must say already that it is removed.
    pub(super) fn remove(&self, profile: &Profile) -> io::Result<()> {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = match fs::remove_file(self.file(profile)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => File::open(&self.folder)?.sync_all(),
        };
        drop(writing);
        removed
    }

    fn file(&self, profile: &Profile) -> PathBuf {
        self.folder.join(format!("{}.json", id_of(profile)))
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)?;
    // A file that was there keeps its mode.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn id_of(profile: &Profile) -> &str {
    profile.origin.path.rsplit('/').next().unwrap_or_default()
}

/// Ids are the only names that are files of ours.
fn is_id(text: &str) -> bool {
    text.len() == ID_LEN && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'x')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        configuration::{
            fixtures::option,
            option::OptionList,
            profile::{Origin, Settings},
        },
        names,
    };

    fn profile(name: &str) -> Profile {
        let origin = Origin {
            path: format!("{}/{}", path::CONFIGURATION, names::profile_id()),
            persistent: true,
            single_use: false,
            import_timestamp: 1,
        };
        let settings = Settings {
            owner: 1000,
            name: name.to_owned(),
            ..Settings::default()
        };
        Profile::new(
            origin,
            OptionList::new(vec![option("client", &[])]).unwrap(),
            settings,
        )
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn a_file_is_for_its_owner_alone_and_is_replaced_as_a_whole() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("a/configs");
        let store = Store::open(&folder).unwrap();
        let profile = profile("one");
        store.save(&profile).unwrap();
        let [file] = files(&folder).try_into().unwrap();
        assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));
        assert_eq!(file.file_name().unwrap().len(), 41);
        profile.settings().name = "two".to_owned();
        store.save(&profile).unwrap();
        let (loaded, warnings) = Store::open(&folder).unwrap().load().unwrap();
        assert!(warnings.is_empty());
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].settings().name, "two");
        assert_eq!(loaded[0].origin.path, profile.origin.path);
    }

    #[test]
    fn a_removed_profile_is_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let profile = profile("one");
        store.save(&profile).unwrap();
        profile.settings().removed = true;
        store.remove(&profile).unwrap();
        store.save(&profile).unwrap();
        assert!(files(folder.path()).is_empty());
        store.remove(&profile).unwrap();
    }

    #[test]
    fn broken_files_are_told_and_kept_and_half_written_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.save(&profile("good")).unwrap();
        let [broken, linked, half] = [".json", ".json", ".new"].map(|end| {
            let name = format!("{}{end}", names::profile_id());
            folder.path().join(name)
        });
        fs::write(&broken, "{").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &linked).unwrap();
        fs::write(&half, "{").unwrap();
        fs::write(folder.path().join("notes.json"), "{").unwrap();
        let (loaded, warnings) = store.load().unwrap();
        assert_eq!((loaded.len(), warnings.len()), (1, 2), "{warnings:?}");
        assert!(broken.exists() && linked.is_symlink() && !half.exists());
    }

    #[test]
    fn a_file_that_others_can_read_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let profile = profile("one");
        store.save(&profile).unwrap();
        let file = store.file(&profile);
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(store.load().unwrap().0.len(), 1);
        assert_eq!(mode(&file), 0o600);
    }
}
