//! What a command asks of the operating system for its own process.

use std::fs;
use std::io;
use std::path::Path;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CpuSet, capabilities, sched_getaffinity, sched_setaffinity};

/// Lets this thread, and those that it starts later, run on these processor cores only.
pub fn pin_to_cores(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &core in cores {
        if core >= CpuSet::MAX_CPU {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no such processor core"));
        }
        set.set(core);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// The processor cores that this process may run on.
pub fn available_cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(cores) => (0..CpuSet::MAX_CPU).filter(|&core| cores.is_set(core)).collect(),
        Err(_) => Vec::new(),
    }
}

/// Raises the limit on open descriptors as far as the process may. Returns the limit.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // Refused only where the hard limit has shrunk meanwhile.
    _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Keeps all memory that this process has and will have in RAM.
///
/// # Errors
/// Where the process may not lock as much as it may come to need: an allocation beyond the limit would end it.
pub fn lock_memory() -> io::Result<()> {
    let limit = getrlimit(Resource::Memlock);
    // Refused only where the hard limit has shrunk meanwhile.
    _ = setrlimit(Resource::Memlock, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Some(limit) = getrlimit(Resource::Memlock).current
        && !may_lock_without_limit()
    {
        return Err(io::Error::other(format!(
            "only {} KiB may be locked, and needing more later would end the server: raise the limit (ulimit -l unlimited, or \
             LimitMEMLOCK=infinity in a systemd unit) or give it CAP_IPC_LOCK",
            limit / 1024
        )));
    }
    Ok(mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)?)
}

fn may_lock_without_limit() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}

/// The memory that this process may use, in bytes: what its control group allows, or else what the machine has. `None`
/// where that cannot be told.
pub fn memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
    });
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    // A limit of a group above counts too. In a container the file system begins with the container's own group.
    let root = Path::new("/sys/fs/cgroup");
    let directory = root.join(group);
    let directories = directory.ancestors().take_while(|directory| directory.starts_with(root));
    let limits = directories.map(|directory| directory.join("memory.max"));
    let limits = limits.chain([root.join("memory/memory.limit_in_bytes")]);
    let limits = limits.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    limits.chain(machine).min()
}
