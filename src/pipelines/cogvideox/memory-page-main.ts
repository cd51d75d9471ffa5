/** `npm run docs:memory`: writes the tables of docs/memory.md. */
import { readFileSync, writeFileSync } from "node:fs";
import { allTables, withTables } from "./memory-page.ts";

const page = "docs/memory.md";
writeFileSync(page, withTables(readFileSync(page, "utf8"), allTables()));
