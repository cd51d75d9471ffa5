/** How much memory this process took, and how much it could still take. */
import { readFileSync } from "node:fs";
import { freemem, totalmem } from "node:os";
import { CogwheelError } from "../base/errors.ts";
import { bytesText } from "../base/units.ts";

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
  const free = kilobytes(read("/proc/meminfo"), "MemAvailable") ?? freeBytes(process.platform, { free: freemem(), total: totalmem() });
  return Math.max(0, Math.min(free, containerHeadroom() ?? Infinity, addressSpace()?.left ?? Infinity));
}

/**
 * Where the system does not say what is available. What macOS calls free are pages that it has found no use for, a few hundred MB on
 * any machine; what it caches or compresses can be had too.
 */
export function freeBytes(platform: NodeJS.Platform, { free, total }: { free: number; total: number }): number {
  return platform === "darwin" ? total : free;
}

/** What a limit of address space (`ulimit -v`) leaves; undefined without one. */
function addressSpace(): { limit: number; left: number } | undefined {
  const limit = Number(/^Max address space\s+(\d+)/m.exec(read("/proc/self/limits") ?? "")?.[1] ?? NaN);
  return Number.isNaN(limit) ? undefined : { limit, left: limit - (kilobytes(read("/proc/self/status"), "VmSize") ?? 0) };
}

/** Address space that Dawn, a driver and a small model take: 930 MB with lavapipe on Node 20 and 22, 1,070 on Node 24. */
const LEAST_SPACE = 1150 * 2 ** 20;

/** Throws where address space is too little for any adapter: a driver that gets none ends the process without a word. */
export function refuseTightAddressSpace(): void {
  const space = addressSpace();
  if (!space || space.left >= LEAST_SPACE) return;
  throw new CogwheelError(
    "adapter",
    `Dawn and a driver need ${bytesText(LEAST_SPACE, 1)} of address space, ` +
      `got ${bytesText(Math.max(0, space.left))} left of a limit of ${bytesText(space.limit, 1)}; raise it (ulimit -v)`,
  );
}

/** What a container's limit leaves; files that the kernel caches for it can be dropped and do not count. */
function containerHeadroom(): number | undefined {
  const versions = [
    { limit: "/sys/fs/cgroup/memory.max", used: "/sys/fs/cgroup/memory.current", stat: "/sys/fs/cgroup/memory.stat" },
    {
      limit: "/sys/fs/cgroup/memory/memory.limit_in_bytes",
      used: "/sys/fs/cgroup/memory/memory.usage_in_bytes",
      stat: "/sys/fs/cgroup/memory/memory.stat",
    },
  ];
  for (const { limit, used, stat } of versions) {
    const most = Number(read(limit)?.trim() || NaN); // "max" is no number
    if (!Number.isFinite(most) || most <= 0) continue;
    const cached = Number(/^(?:total_)?inactive_file (\d+)/m.exec(read(stat) ?? "")?.[1] ?? 0);
    return most - (Number(read(used) ?? 0) - cached);
  }
  return undefined;
}
