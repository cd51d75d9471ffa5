/** The panel that measures this GPU. */
import type { Client } from "./client.ts";
export function benchmarkPanel(_client: Client, _tell: (message: string | null) => void): void {}
