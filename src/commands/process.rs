//! What a command asks of the operating system for its own process.

use std::io;

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
