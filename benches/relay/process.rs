//! What the operating system knows of a process.

/// The peak memory of a process, in bytes; `None` if it has ended. `process` is its id, or `self`.
pub(crate) fn peak_memory(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The processor time of a process so far, in ticks of 10 ms.
pub(crate) fn ticks(process: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let field = |n: usize| -> u64 { fields.split(' ').nth(n).unwrap().parse().unwrap() };
    // Fields 14 and 15 of /proc/PID/stat (proc(5)): user and system time.
    field(11) + field(12)
}
