//! What a command asks of the operating system for its own process.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

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
