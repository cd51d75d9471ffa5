/** `cogwheel adapters`: what `--adapter` can name here. */
import { defineCommand } from "../command.ts";
import { print, printJson } from "../terminal/output.ts";
import { table } from "../terminal/table.ts";

export const adapters = defineCommand<[], { json?: boolean }>({
  name: "adapters",
  help: "list the adapters that --adapter can name here",
  printsResult: true,
  declare: (command) => command.option("--json", "print JSON"),
  async run(_, { json }) {
    const { listAdapters } = await import("#platform");
    const found = await listAdapters();
    if (json) {
      printJson(found);
      return;
    }
    const yes = (b: boolean) => (b ? "yes" : "no");
    print(
      table(
        ["--adapter", "name", "kind", "f16", "subgroups", "timestamps", "binding", "buffer"],
        found.map((a, i) => [
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
  },
});
