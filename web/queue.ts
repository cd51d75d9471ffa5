/** What is to be made after what is being made, in the order in which it was asked for. */
import { visible } from "../src/base/visible.ts";
import { byId } from "./dom.ts";
import type { GenerateRequest } from "./protocol.ts";

export interface Queue {
  /** Runs them now, or after those that wait. */
  add(...requests: GenerateRequest[]): void;
  /** Runs it before those that wait; nothing must be running. */
  next(request: GenerateRequest): void;
  waiting(): readonly GenerateRequest[];
}

/**
 * @param run makes one; it is never asked for two at once. Whether to go on with the next: after one that was stopped the others wait until
 *   they are started, for what was stopped can be gone on with only before them
 */
export function queue(run: (request: GenerateRequest) => Promise<boolean>): Queue {
  const [box, list] = [byId("queue"), byId("queue-list")];
  const go = byId<HTMLButtonElement>("queue-go");
  const waiting: GenerateRequest[] = [];
  let running = false;

  function show(): void {
    box.hidden = waiting.length === 0;
    go.hidden = running;
    byId("queue-count").textContent = `${waiting.length} waiting`;
    list.replaceChildren(
      ...waiting.map((request, i) => {
        const { prompt, seed } = request.options;
        const words = visible(prompt) + (seed === undefined ? "" : ` · seed ${seed}`);
        const item = document.createElement("li");
        const remove = Object.assign(document.createElement("button"), { type: "button", textContent: "Remove" });
        remove.setAttribute("aria-label", `Remove from the queue: ${words}`);
        remove.addEventListener("click", () => {
          waiting.splice(waiting.indexOf(request), 1);
          show();
          // What had the focus is gone: it goes to the next one, or to where more are asked for.
          const left = list.querySelectorAll("button");
          (left[Math.min(i, left.length - 1)] ?? byId("start")).focus();
        });
        item.append(Object.assign(document.createElement("span"), { textContent: words }), remove);
        return item;
      }),
    );
  }
  async function work(): Promise<void> {
    if (running) return;
    running = true;
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      show();
      if (!(await run(next))) break;
    }
    running = false;
    show();
  }
  go.addEventListener("click", () => {
    byId("start").focus();
    void work();
  });
  return {
    add(...requests) {
      waiting.push(...requests);
      show();
      void work();
    },
    next(request) {
      waiting.unshift(request);
      void work();
    },
    waiting: () => waiting,
  };
}
