//! CPU time of other processes.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Context as _;
use rustix::param::clock_ticks_per_second;

/// CPU time a process has used, in user and kernel mode, all its threads together.
pub(super) fn cpu_time_s(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = cpu_ticks(&stat).with_context(|| format!("{path} looks different: {stat}"))?;
    // Both are far below 2^52, so nothing is lost.
    #[allow(clippy::cast_precision_loss)]
    Ok(ticks as f64 / clock_ticks_per_second() as f64)
}

/// Fields 14 and 15 of `/proc/<pid>/stat`. The second field is the name in parentheses, and may
/// itself hold blanks and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name
        .split_whitespace()
        .skip(11)
        .map(str::parse::<u64>);
    Some(fields.next()?.ok()? + fields.next()?.ok()?)
}

/// CPU time of each thread that a process has now, nanoseconds, by the thread's name: the scheduler's own
/// account, which is exact where hundredths of a second are too coarse.
///
/// Threads of one name count together.
pub(super) fn thread_times_ns(pid: u32) -> anyhow::Result<BTreeMap<String, u64>> {
    let tasks = format!("/proc/{pid}/task");
    let mut times = BTreeMap::new();
    for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
        let task = task?.path();
        // A thread that ends this moment is left out.
        let read = |file: &str| fs::read_to_string(task.join(file)).ok();
        let (Some(name), Some(account)) = (read("comm"), read("schedstat")) else {
            continue;
        };
        let used_ns = account.split_whitespace().next();
        let used_ns: u64 = used_ns
            .and_then(|it| it.parse().ok())
            .with_context(|| format!("the schedstat of {} is {account:?}", task.display()))?;
        *times.entry(name.trim().to_owned()).or_default() += used_ns;
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_user_and_kernel_time() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 1 0 0 0 120 34 0 0 20 0 3 0 9 1 2";
        assert_eq!(cpu_ticks(stat), Some(154));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn threads_are_told_apart_by_name() {
        let work = || {
            // This thread must have used some time, and must not have ended, when it is looked at.
            let looks = (0..1_000_000).map(std::hint::black_box).sum::<u64>();
            assert!(looks > 0);
            thread_times_ns(std::process::id()).unwrap()
        };
        let thread = std::thread::Builder::new().name("a worker".to_owned());
        let times = thread.spawn(work).unwrap().join().unwrap();
        assert!(times["a worker"] > 0, "{times:?}");
    }
}
