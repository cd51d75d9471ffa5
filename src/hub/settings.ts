/** Where the hub and its cache are: options, environment and defaults, in this order. */
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { checkEndpoint, checkHubOptions, chooseRevision } from "./id.ts";
import type { HubId, HubOptions } from "./id.ts";

/** Options and environment, put together. */
export interface HubSettings {
  readonly revision: string;
  readonly endpoint: string;
  readonly token: string | null;
  /** The folder of all repositories. */
  readonly cache: string;
  readonly offline: boolean;
}

/** The hub's address, where somebody says one. */
export const toldEndpoint = (options: HubOptions): string | undefined => options.endpoint ?? (process.env["HF_ENDPOINT"] || undefined);

/** What the standard clients take from the environment, where the options do not say it. */
export async function hubSettings(
  id: HubId,
  options: HubOptions,
  client: { HUB_URL: string; getHFHubCachePath(): string },
): Promise<HubSettings> {
  checkHubOptions(options);
  const { env } = process;
  return {
    revision: chooseRevision(id, options.revision),
    endpoint: checkEndpoint(toldEndpoint(options) ?? client.HUB_URL),
    token: options.token === undefined ? await standardToken(env) : options.token,
    cache: resolve(options.cache ?? client.getHFHubCachePath()),
    offline: options.offline ?? isTrue(env["HF_HUB_OFFLINE"]),
  };
}

const isTrue = (value: string | undefined): boolean => /^(1|on|yes|true)$/i.test(value ?? "");

async function standardToken(env: NodeJS.ProcessEnv): Promise<string | null> {
  if (isTrue(env["HF_HUB_DISABLE_IMPLICIT_TOKEN"])) return null;
  const home = env["HF_HOME"] || join(env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "huggingface");
  const told = env["HF_TOKEN"] || (await readFile(env["HF_TOKEN_PATH"] || join(home, "token"), "utf8").catch(() => ""));
  return told.trim() || null;
}
