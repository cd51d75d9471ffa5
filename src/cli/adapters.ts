/** `cogwheel adapters`: what `--adapter` can name here. */
import { listAdapters } from "#platform";
import { print, printJson } from "./terminal/output.ts";
import { table } from "./terminal/table.ts";

export async function adaptersCommand({ json }: { json?: boolean }): Promise<void> {
  const adapters = await listAdapters();
  if (json) {
    printJson(adapters);
    return;
  }
  const yes = (b: boolean) => (b ? "yes" : "no");
  print(
    table(
      ["--adapter", "name", "kind", "f16", "subgroups", "timestamps", "binding", "buffer"],
      adapters.map((a, i) => [
        i === 0 ? `${a.select} (default)` : a.select,
        a.name,
        a.kind,
        yes(a.features.includes("shader-f16")),
        a.subgroups ? (a.subgroups.min === a.subgroups.max ? `${a.subgroups.min}` : `${a.subgroups.min}–${a.subgroups.max}`) : "no",
        yes(a.features.includes("timestamp-query")),
        `${Math.round(a.limits.maxStorageBufferBindingSize / 2 ** 20)} MiB`,
        `${Math.round(a.limits.maxBufferSize / 2 ** 20)} MiB`,
      ]),
    ),
  );
}
