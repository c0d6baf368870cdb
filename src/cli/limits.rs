//! Limits of the process: each proxied connection is a socket, and the usual soft limit allows too few.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open files that the largest tables of proxy, exit and tunnel need together.
const OPEN_FILES: u64 = 20_000;

/// Raises the soft limit of open files as far as needed and allowed.
pub(super) fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = hard.min(OPEN_FILES);
        if soft < wanted {
            setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
        } else {
            Ok(())
        }
    });
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_enough_where_the_system_allows_it() {
        raise_open_files();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert!(soft >= hard.min(OPEN_FILES), "{soft} of {hard}");
    }
}
