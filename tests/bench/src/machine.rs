//! The machine that the figures are of.

use std::fs;

/// Processor, cores, kernel, memory: as much as makes two tables comparable.
pub(crate) fn describe() -> String {
    let of = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (processor, memory) = (of("/proc/cpuinfo"), of("/proc/meminfo"));
    let value = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_once(':')
            .map(|(_, value)| value.trim().to_owned())
    };
    let model = value(&processor, "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let family = value(&processor, "cpu family")
        .map(|family| format!(" (family {family})"))
        .unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = of("/proc/sys/kernel/osrelease");
    let memory = value(&memory, "MemTotal")
        .and_then(|total| total.trim_end_matches(" kB").parse::<u64>().ok());
    let memory = memory.unwrap_or_default() / (1024 * 1024);
    let architecture = std::env::consts::ARCH;
    format!(
        "{model}{family}, {cores} cores, {memory} GiB, {architecture}, Linux {}",
        kernel.trim()
    )
}
