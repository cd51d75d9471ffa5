/** What is asked before much is fetched: how much it is, whether it fits this GPU, and whether this browser has room to keep it. */
import { bytesText } from "../src/base/units.ts";
import { shortenedLines } from "../src/base/visible.ts";
import type { Client } from "./client.ts";
import { byId } from "./dom.ts";
import type { Fetched, FitAnswer } from "./protocol.ts";
import { inWords } from "./trouble.ts";

export interface Consent {
  /**
   * Asks where that must be. @param published bytes of a published model: it is asked for at once, and its plan is told too
   * @returns whether it may be fetched now
   */
  ask(address: string, published?: number): Promise<boolean>;
  /** An answer is waited for about this model: the button that gives it. */
  waits(address: string): HTMLElement | null;
  /** Another model is chosen. */
  hide(): void;
  /** What was agreed to about this model is no more. */
  forget(address: string): void;
}

/** What is less is fetched without a question: a picture or two of a camera. */
const UNASKED_BYTES = 64e6;

/** @param onAgree it may be fetched */
export function consent(client: Client, onAgree: () => void): Consent {
  const [box, agree, told, fits] = [byId("consent"), byId<HTMLButtonElement>("agree"), byId("fetches"), byId("fits")];
  const keep = byId<HTMLInputElement>("store");
  const agreed = new Set<string>();
  let asking: { address: string; bytes: number; room: number | undefined } | undefined;
  /** The model that is looked at, or asked about. */
  let about = "";

  function write(): void {
    if (!asking) return;
    const { bytes, room } = asking;
    const size = bytesText(bytes, 1);
    const lacks = keep.checked && room !== undefined && bytes > room;
    agree.textContent = keep.checked ? `Fetch ${size}` : "Open it there";
    agree.disabled = lacks;
    told.textContent = !keep.checked
      ? `Its ${size} stay where they are: each video reads from there what it needs, which may be all of it.`
      : lacks
        ? `${size} are to be fetched, and this browser has room for ${bytesText(room, 1)}. Free some of the disk, or do not keep it.`
        : `${size} are to be fetched${room === undefined ? "" : `; this browser has room for ${bytesText(room, 1)}`}.`;
  }
  keep.addEventListener("change", write);
  agree.addEventListener("click", () => {
    if (!asking) return;
    agreed.add(asking.address);
    hide();
    onAgree();
  });
  byId("decline").addEventListener("click", () => {
    hide();
    const embedded = document.querySelector<HTMLInputElement>('input[name="model"][value="embedded"]')!;
    embedded.click();
    embedded.focus();
  });
  function hide(): void {
    about = "";
    asking = undefined;
    box.hidden = told.hidden = fits.hidden = true;
  }

  async function show(address: string, bytes: number): Promise<void> {
    const room = await roomHere();
    if (about !== address) return;
    asking = { address, bytes, room };
    box.hidden = told.hidden = false;
    write();
  }
  async function ask(address: string, published?: number): Promise<boolean> {
    if (agreed.has(address) || address === "") return true;
    if (asking?.address === address) return false;
    hide();
    about = address;
    fits.hidden = published === undefined;
    if (published !== undefined) {
      void showFit(address);
      await show(address, published);
    }
    // What cannot be looked at cannot be opened, and opening says why.
    const fetched = await client.ask<Fetched>({ type: "look", url: address }).catch(() => null);
    if (about !== address) return false;
    if (fetched && fetched.bytes > UNASKED_BYTES) await show(address, fetched.bytes);
    else if (fetched || published === undefined) {
      hide();
      if (fetched) agreed.add(address);
      return true;
    }
    return false;
  }

  const plans = new Map<string, Promise<FitAnswer>>();
  async function showFit(id: string): Promise<void> {
    fits.textContent = "Planning what it would take of this GPU …";
    if (!plans.has(id)) plans.set(id, planned(id));
    const answer = await plans.get(id)!;
    if (about === id) fits.textContent = fitWords(answer);
  }

  return { ask, hide, forget: (address) => void agreed.delete(address), waits: (address) => (asking?.address === address ? agree : null) };
}

/** Bytes that this browser may still store, where it tells. */
async function roomHere(): Promise<number | undefined> {
  const { quota, usage = 0 } = (await navigator.storage?.estimate?.()) ?? {};
  return quota === undefined ? undefined : Math.max(0, quota - usage);
}

function planned(id: string): Promise<FitAnswer> {
  const worker = new Worker(new URL("fit.js", import.meta.url), { type: "module" });
  return new Promise<FitAnswer>((resolve) => {
    worker.onmessage = ({ data }: MessageEvent<FitAnswer>) => resolve(data);
    worker.onerror = () => resolve({ id, refused: "the plan could not be made" });
    worker.postMessage(id);
  }).finally(() => worker.terminate());
}

function fitWords(fit: FitAnswer): string {
  if ("refused" in fit) {
    const { what, remedy } = inWords(fit.refused);
    return shortenedLines(`It does not fit this GPU: ${what} ${remedy}`);
  }
  const { size, bytes, leastBytes } = fit;
  const least = leastBytes < bytes ? `; ${bytesText(leastBytes, 1)} would do, where weights come and go (slower)` : "";
  return `At ${size.replace("×", " × ")} it takes ${bytesText(bytes, 1)} of GPU memory${least}.`;
}
