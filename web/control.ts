/** When what the page fetches is kept by its service worker (offline.ts), so that a second visit fetches nothing of it. */

/** Longer nobody waits: a worker that does not come is no reason to make no video. */
const PATIENCE_MS = 3000;

/** Registers the service worker; where a browser does not allow it, the page needs a network each time. */
const registered = navigator.serviceWorker?.register(new URL("offline.js", import.meta.url)).catch(() => undefined);

/** Resolves when the service worker has the page, or when none will have it soon. */
export async function inControl(): Promise<void> {
  const workers = navigator.serviceWorker;
  if (!workers || workers.controller) return;
  const changed = new Promise<void>((resolve) => workers.addEventListener("controllerchange", () => resolve(), { once: true }));
  const late = new Promise<void>((resolve) => setTimeout(resolve, PATIENCE_MS));
  const refused = registered!.then((found) => (found ? changed : undefined));
  await Promise.race([refused, late]);
}
