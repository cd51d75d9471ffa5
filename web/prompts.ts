/** What this browser keeps of encoded prompts, and the button that forgets it. */
import { bytesText } from "../src/base/units.ts";
import type { Client } from "./client.ts";
import { byId } from "./dom.ts";
import type { KeptPrompts } from "./protocol.ts";
import type { Tell } from "./trouble.ts";

/** @returns what shows anew how much is kept */
export function keptPrompts(client: Client, tell: Tell): () => Promise<void> {
  const forget = byId("prompts-forget");
  const show = async (): Promise<void> => {
    const { count, bytes } = await client.ask<KeptPrompts>({ type: "list-prompts" }).catch(() => ({ count: 0, bytes: 0 }));
    const room = bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : bytesText(bytes);
    byId("prompts-kept").textContent = count
      ? `${count} encoded ${count === 1 ? "prompt is" : "prompts are"} kept in this browser (${room}).`
      : "No encoded prompts are kept in this browser.";
    forget.hidden = count === 0;
  };
  forget.addEventListener("click", async () => {
    await client.ask({ type: "forget-prompts" }).catch((error: Error) => tell(error.message));
    await show();
  });
  return show;
}
