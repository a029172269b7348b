//! What is said of a file with a secret that more may read than need to, and what can be done about it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::{getegid, geteuid};

/// Permissions of everybody.
const EVERYBODY: u32 = 0o006;

/// Who may read a file beside its owner.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readers {
    /// Nobody. Of a file of another user, the group that meshd reads it by.
    OwnerAlone,
    /// Its group.
    Group,
}

/// A file, as far as its permissions go, and who looks at it.
#[derive(Clone, Copy, Debug)]
struct Access {
    mode: u32,
    /// Whose it is.
    owner: u32,
    is_read_only: bool,
    /// The user and group that meshd runs as.
    user: u32,
    group: u32,
}

/// A warning if more than `readers` may read the file, with what can be done about it. `what` is what they get at.
pub(crate) fn warning(
    path: &Path,
    metadata: &Metadata,
    readers: Readers,
    what: &str,
) -> Option<String> {
    let flags = statvfs(path).map(|found| found.f_flag);
    let access = Access {
        mode: metadata.mode() & 0o777,
        owner: metadata.uid(),
        is_read_only: flags.is_ok_and(|flags| flags.contains(StatVfsMountFlags::RDONLY)),
        user: geteuid().as_raw(),
        group: getegid().as_raw(),
    };
    access.warning(path, readers, what)
}

impl Access {
    fn warning(self, path: &Path, readers: Readers, what: &str) -> Option<String> {
        let Self { mode, .. } = self;
        if mode & self.excess(readers) == 0 {
            return None;
        }
        let whom = if mode & EVERYBODY != 0 {
            "everybody"
        } else {
            "its group"
        };
        let remedy = self.remedy(path, readers);
        let path = path.display();
        Some(format!(
            "{path}: mode {mode:04o} lets {whom} at {what}; {remedy}"
        ))
    }

    /// Whether it can be read without the permissions of its group.
    const fn needs_no_group(self) -> bool {
        self.user == 0 || self.user == self.owner
    }

    /// The permissions that nobody needs.
    const fn excess(self, readers: Readers) -> u32 {
        match readers {
            Readers::OwnerAlone if self.needs_no_group() => 0o066,
            Readers::OwnerAlone => 0o026,
            Readers::Group => EVERYBODY,
        }
    }

    fn remedy(self, path: &Path, readers: Readers) -> String {
        let (owner, group) = (self.owner, self.group);
        let path = path.display();
        match (self.is_read_only, self.needs_no_group()) {
            (true, true) => {
                "it is on a read-only mount: give it mode 0400 where it comes from, in \
                             Kubernetes with defaultMode: 0400 of the volume"
                    .to_owned()
            }
            (true, false) => format!(
                "it is on a read-only mount: give it mode 0440 and group {group} where it comes from, in \
                 Kubernetes with defaultMode: 0440 of the volume and fsGroup: {group} of the pod"
            ),
            (false, true) => match readers {
                Readers::OwnerAlone => format!("chmod 0600 {path}"),
                Readers::Group => format!("chmod 0640 {path}"),
            },
            (false, false) => format!(
                "it belongs to user {owner}, who can change that: chgrp {group} {path}; chmod 0640 {path}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said to user 65534 of a file of user 0.
    fn said(access: Access, readers: Readers) -> Option<String> {
        access.warning(Path::new("/mesh/keys"), readers, "the keys")
    }

    const MOUNTED: Access = Access {
        mode: 0o644,
        owner: 0,
        is_read_only: true,
        user: 65_534,
        group: 65_534,
    };

    #[test]
    fn nobody_is_told_to_change_what_only_others_can() {
        for readers in [Readers::OwnerAlone, Readers::Group] {
            let mounted = said(MOUNTED, readers).unwrap();
            assert!(!mounted.contains("chmod"), "{mounted}");
            assert!(mounted.contains("defaultMode: 0440"), "{mounted}");
            assert!(mounted.contains("fsGroup: 65534"), "{mounted}");
            let as_root = Access { user: 0, ..MOUNTED };
            let mounted = said(as_root, readers).unwrap();
            assert!(!mounted.contains("chmod"), "{mounted}");
            assert!(mounted.contains("defaultMode: 0400"), "{mounted}");
            let of_root = Access {
                is_read_only: false,
                ..MOUNTED
            };
            let of_root = said(of_root, readers).unwrap();
            assert!(of_root.contains("belongs to user 0"), "{of_root}");
        }
        let own = Access {
            is_read_only: false,
            owner: 65_534,
            ..MOUNTED
        };
        let own = said(own, Readers::OwnerAlone).unwrap();
        assert_eq!(
            own,
            "/mesh/keys: mode 0644 lets everybody at the keys; chmod 0600 /mesh/keys"
        );
    }

    #[test]
    fn a_file_that_is_read_by_its_group_alone_is_well_kept() {
        let of = |mode, owner, readers| {
            let access = Access {
                mode,
                owner,
                ..MOUNTED
            };
            said(access, readers).is_some()
        };
        assert!(!of(0o440, 0, Readers::OwnerAlone));
        assert!(of(0o460, 0, Readers::OwnerAlone), "the group can write");
        assert!(of(0o440, 65_534, Readers::OwnerAlone), "nobody needs it");
        assert!(!of(0o440, 65_534, Readers::Group));
        assert!(!of(0o400, 65_534, Readers::OwnerAlone));
    }

    #[test]
    fn what_is_followed_helps() {
        let helped = |access: Access, mode| {
            let after = Access { mode, ..access };
            said(after, Readers::OwnerAlone).is_none() && said(after, Readers::Group).is_none()
        };
        assert!(helped(MOUNTED, 0o440));
        assert!(helped(Access { user: 0, ..MOUNTED }, 0o400));
    }
}
