//! What the kernel says of this process, under the names that Prometheus clients agree on.

use std::fmt;

use procfs::process::LimitValue;
use procfs::{CurrentSI, KernelStats, ProcResult, WithCurrentSystemInfo};

use super::families::{Families, UNLABELLED};

/// This process at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    cpu_s: f64,
    open_fds: u64,
    /// None when there is no limit.
    max_fds: Option<u64>,
    virtual_memory_bytes: u64,
    resident_memory_bytes: u64,
    start_time_s: f64,
    threads: i64,
}

impl Process {
    /// Asks the kernel; `None` where it does not say.
    pub(super) fn read() -> Option<Self> {
        Self::try_read().ok()
    }

    fn try_read() -> ProcResult<Self> {
        let process = procfs::process::Process::myself()?;
        let stat = process.stat()?;
        let ticks_per_second = procfs::ticks_per_second() as f64;
        let started_s = stat.starttime as f64 / ticks_per_second;
        let max_fds = match process.limits()?.max_open_files.soft_limit {
            LimitValue::Value(limit) => Some(limit),
            LimitValue::Unlimited => None,
        };
        Ok(Self {
            cpu_s: (stat.utime + stat.stime) as f64 / ticks_per_second,
            open_fds: process.fd_count()? as u64,
            max_fds,
            virtual_memory_bytes: stat.vsize,
            resident_memory_bytes: stat.rss_bytes().get(),
            start_time_s: KernelStats::current()?.btime as f64 + started_s,
            threads: stat.num_threads,
        })
    }
}

/// Writes them; without samples where the kernel does not say.
pub(super) fn encode(process: Option<&Process>, families: &mut Families<'_>) -> fmt::Result {
    families.counter(
        "process_cpu_seconds",
        "User and system CPU time spent.",
        process.map(|process| (UNLABELLED, process.cpu_s)),
    )?;
    families.gauge(
        "process_open_fds",
        "Open file descriptors.",
        process.map(|process| (UNLABELLED, process.open_fds)),
    )?;
    families.gauge(
        "process_max_fds",
        "File descriptors that may be open.",
        process.and_then(|process| Some((UNLABELLED, process.max_fds?))),
    )?;
    families.gauge(
        "process_virtual_memory_bytes",
        "Virtual memory.",
        process.map(|process| (UNLABELLED, process.virtual_memory_bytes)),
    )?;
    families.gauge(
        "process_resident_memory_bytes",
        "Resident memory, the region's included.",
        process.map(|process| (UNLABELLED, process.resident_memory_bytes)),
    )?;
    families.gauge(
        "process_start_time_seconds",
        "When the process was started, Unix time.",
        process.map(|process| (UNLABELLED, process.start_time_s)),
    )?;
    families.gauge(
        "process_threads",
        "Threads of the process.",
        process.map(|process| (UNLABELLED, process.threads)),
    )
}
