import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { difference, type Drawn } from "./drawn.ts";

const drawn = JSON.parse(readFileSync(new URL("pictures.json", import.meta.url), "utf8")) as Drawn[];

describe("pictures are read as Pillow reads them, byte for byte", () => {
  it.each(drawn.map((picture) => [picture.name, picture] as const))("%s", async (_, picture) => {
    expect(await difference(picture)).toBeUndefined();
  });
});
