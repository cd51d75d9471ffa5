/** How much memory this process took, and how much it could still take. */
import { readFileSync } from "node:fs";
import { freemem } from "node:os";

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** `VmHWM:   123 kB` → bytes. */
function kilobytes(text: string | undefined, key: string): number | undefined {
  const match = text === undefined ? null : new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(text);
  return match ? 1024 * Number(match[1]) : undefined;
}

export function peakResidentBytes(): number {
  return kilobytes(read("/proc/self/status"), "VmHWM") ?? 1024 * process.resourceUsage().maxRSS;
}

export function availableMemoryBytes(): number {
  const free = kilobytes(read("/proc/meminfo"), "MemAvailable") ?? freemem();
  return Math.max(0, Math.min(free, containerHeadroom() ?? Infinity));
}

/** What a container's limit leaves; files that the kernel caches for it can be dropped and do not count. */
function containerHeadroom(): number | undefined {
  const versions = [
    { limit: "/sys/fs/cgroup/memory.max", used: "/sys/fs/cgroup/memory.current", stat: "/sys/fs/cgroup/memory.stat" },
    { limit: "/sys/fs/cgroup/memory/memory.limit_in_bytes", used: "/sys/fs/cgroup/memory/memory.usage_in_bytes", stat: "/sys/fs/cgroup/memory/memory.stat" },
  ];
  for (const { limit, used, stat } of versions) {
    const most = Number(read(limit)?.trim() || NaN); // "max" is no number
    if (!Number.isFinite(most) || most <= 0) continue;
    const cached = Number(/^(?:total_)?inactive_file (\d+)/m.exec(read(stat) ?? "")?.[1] ?? 0);
    return most - (Number(read(used) ?? 0) - cached);
  }
  return undefined;
}
