/** A run that somebody waits for elsewhere: time left in the tab's title, a screen that stays on, and a notification for who wants one. */
import { byId } from "./dom.ts";
import { duration } from "./text.ts";

export interface Attention {
  begin(): void;
  /** @param share of it that is done @param seconds that are left; undefined where nobody knows */
  progress(share: number, seconds?: number): void;
  /** @param words what came of it */
  end(words: string): void;
}

export function attention(): Attention {
  const own = document.title;
  const wanted = byId<HTMLInputElement>("notify");
  let running = false;
  let lock: WakeLockSentinel | undefined;

  /** A screen that goes off would stop the GPU with it, on a phone. A page that cannot be seen cannot have the lock, and loses it. */
  async function hold(): Promise<void> {
    if (!running || document.hidden || lock?.released === false) return;
    const got = await navigator.wakeLock?.request("screen").catch(() => undefined);
    if (running) lock = got;
    else void got?.release();
  }
  document.addEventListener("visibilitychange", () => {
    void hold();
    if (!document.hidden && !running) document.title = own;
  });
  if (!("Notification" in window)) wanted.closest("label")!.hidden = true;
  wanted.addEventListener("change", async () => {
    if (wanted.checked && (await Notification.requestPermission()) !== "granted") {
      wanted.checked = false;
      byId("notify-told").textContent = "The browser does not allow it; its settings for this page do.";
    } else byId("notify-told").textContent = "";
  });

  return {
    begin() {
      running = true;
      document.title = "Beginning · Cogwheel";
      void hold();
    },
    progress(share, seconds) {
      const how = seconds === undefined ? `${Math.floor(share * 100)} %` : `${duration(seconds)} left`;
      document.title = `${how} · Cogwheel`;
    },
    end(words) {
      running = false;
      void lock?.release();
      lock = undefined;
      document.title = document.hidden ? `${words} · Cogwheel` : own;
      if (!document.hidden || !wanted.checked) return;
      try {
        const told = new Notification("Cogwheel", { body: words, icon: "icon.svg", silent: true, tag: "cogwheel" });
        told.addEventListener("click", () => {
          window.focus();
          told.close();
        });
      } catch {
        // Chrome on Android gives notifications to service workers alone; the title says it.
      }
    },
  };
}
