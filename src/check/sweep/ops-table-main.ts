/** `npm run docs:ops`: writes docs/ops.md. */
import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { opsTable } from "./ops-table.ts";

const root = pathToFileURL(`${process.cwd()}/`);
writeFileSync(new URL("docs/ops.md", root), opsTable(root));
