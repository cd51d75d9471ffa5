/** Results that are worth keeping for a user's other visits, in a browser: the origin's Cache storage, which pages and workers have alike. */
import type { KeptFile, KeptFiles } from "./types.ts";

/** Cache storage keeps answers by address; nobody is asked at this one. */
const ADDRESS = "https://kept.invalid/";
const USED = "x-used";
const SIZE = "x-size";

/** Undefined where there is no storage: on a page without https, in a private window that has none. */
export async function keptFiles(kind: string, _evenIfOff?: boolean): Promise<KeptFiles | undefined> {
  const cache = await globalThis.caches?.open(`cogwheel-${kind}`).catch(() => undefined);
  if (!cache) return undefined;
  const put = async (name: string, bytes: Uint8Array): Promise<void> => {
    const headers = { [USED]: String(Date.now()), [SIZE]: String(bytes.length) };
    await cache.put(ADDRESS + name, new Response(bytes.slice(), { headers }));
  };
  const peek = async (name: string, most: number, first?: number): Promise<Uint8Array<ArrayBuffer> | undefined> => {
    const answer = await cache.match(ADDRESS + name);
    if (!answer || Number(answer.headers.get(SIZE)) > most) return undefined;
    return new Uint8Array(await (first === undefined ? answer : (await answer.blob()).slice(0, first)).arrayBuffer());
  };
  return {
    place: "the browser's storage for this site",
    async list() {
      const found: KeptFile[] = [];
      for (const { url } of await cache.keys()) {
        const answer = await cache.match(url);
        if (!answer) continue;
        const [used, bytes] = [USED, SIZE].map((header) => Number(answer.headers.get(header)));
        found.push({ name: url.slice(ADDRESS.length), bytes: bytes!, used: used! });
      }
      return found;
    },
    peek,
    async read(name, most) {
      const bytes = await peek(name, most);
      if (bytes) await put(name, bytes).catch(() => undefined); // what was used last goes last
      return bytes;
    },
    write: put,
    async remove(name) {
      await cache.delete(ADDRESS + name);
    },
  };
}
