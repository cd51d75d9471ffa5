/** A page of the playground as axe sees it, on a desktop and on a phone, in both themes. Screenshots are kept in dist/screenshots. */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { expect } from "vitest";
import { SHOTS } from "./playground.ts";

/** What has the focus. */
export const focused = (page: Page): Promise<string> => page.evaluate(() => document.activeElement!.id || document.activeElement!.tagName);

/** @param page opened with `bypassCSP` @returns what holds a state to it: axe finds nothing, nothing is too wide, the keyboard is somewhere */
export async function axeFor(page: Page): Promise<(state: string) => Promise<void>> {
  await page.evaluate(await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
  return async (state) => {
    expect(await focused(page), state).not.toBe("BODY");
    for (const [width, colorScheme] of [
      [1440, "light"],
      [390, "dark"],
    ] as const) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme });
      const { violations } = await page.evaluate(() => (globalThis as any).axe.run());
      expect(
        violations.map(({ id, nodes }: any) => `${id}: ${nodes[0].html}`),
        `${state} at ${width}`,
      ).toEqual([]);
      expect(await page.evaluate(() => document.documentElement.scrollWidth), `${state} at ${width}`).toBeLessThanOrEqual(width);
      await page.screenshot({ path: join(SHOTS, `page-${state}-${width}.png`), fullPage: true });
    }
  };
}
