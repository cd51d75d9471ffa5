/** What a generation will take of this GPU, told beside the form: its memory, and where that was measured its time, for each length too. */
import { shortenedLines } from "../src/base/visible.ts";
import type { GenerateOptions } from "../src/index.ts";
import { WorkerError, type Client } from "./client.ts";
import { byId } from "./dom.ts";
import type { Lengths } from "./lengths.ts";
import type { ModelChoice, News, Plan } from "./protocol.ts";
import { planText } from "./text.ts";
import { inWords } from "./trouble.ts";

/** What the form asks for, as a plan takes it. */
export interface Planned {
  model: ModelChoice;
  options: Partial<GenerateOptions>;
}

export interface PlanBox {
  /** The form says something else: what is told is told anew, a moment after the last change. */
  renew(): void;
  /** There is nothing to plan: such as of a model that is not open. */
  clear(): void;
  /** A generation begins: nothing else is measured meanwhile. */
  yield(): void;
}

/** A moment after the last change. */
const PAUSE_MS = 300;

/**
 * @param asked undefined while nothing is to be planned
 * @param over nothing is under way any more that its news told of
 * @param samples how many videos are asked for, one after another; a plan is of one
 */
export function planBox(
  client: Client,
  lengths: Lengths,
  { asked, news, over, samples }: { asked(): Planned | undefined; news(news: News): void; over(): void; samples(): number },
): PlanBox {
  const [told, time] = [byId("plan"), byId<HTMLButtonElement>("time")];
  let timer = 0;
  /** Of the last plan that was asked for: answers to others are late. */
  let turn = 0;
  /** What the seconds of each length were told for. */
  let timed = "";

  function show(plan: Plan): void {
    told.textContent = planText(plan) + (samples() > 1 ? ` Each of the ${samples()} takes that, one after another.` : "");
    told.classList.remove("stale");
    const { advice = "" } = plan;
    byId("prompt-advice").hidden = advice === "";
    byId("prompt-advice").textContent = advice && `${advice[0]!.toUpperCase()}${advice.slice(1)}.`;
  }
  function refuse(error: Error): void {
    const { what, remedy } = inWords(error.message);
    told.textContent = shortenedLines(`${what} ${remedy}`);
    told.classList.remove("stale");
  }

  /** The seconds of each length, one after another, so that whoever asks for something else meanwhile does not wait for all of them. */
  async function timeLengths({ model, options }: Planned): Promise<void> {
    const { frames: _, prompt: __, seed: ___, negative: ____, ...rest } = options;
    const key = JSON.stringify([model.kind, lengths.offered(), rest]);
    if (key === timed) return;
    const mine = turn;
    const takes = new Map<number, number | "no">();
    for (const frames of lengths.offered()) {
      const plan = await client.ask<Plan>({ type: "plan", model, options: { ...rest, frames } }).catch(() => null);
      if (mine !== turn) return;
      takes.set(frames, plan ? plan.times!.reduce((sum, { seconds }) => sum + seconds, 0) : "no");
    }
    timed = key;
    lengths.tell(takes);
  }

  async function plan(what: Planned): Promise<void> {
    const mine = ++turn;
    try {
      const found = await client.ask<Plan>({ type: "plan", ...what });
      if (mine !== turn) return;
      show(found);
      if (found.times) await timeLengths(what);
    } catch (error) {
      if (mine === turn) refuse(error as Error);
    }
  }

  time.addEventListener("click", async () => {
    const what = asked();
    if (!what || time.ariaDisabled === "true") return;
    time.ariaDisabled = "true";
    try {
      await client.ask<Plan>({ type: "times", ...what }, news);
      box.renew();
    } catch (error) {
      if (!(error instanceof WorkerError && error.cancelled)) refuse(error as Error);
    }
    time.ariaDisabled = null;
    over();
  });

  const box: PlanBox = {
    renew() {
      clearTimeout(timer);
      turn++;
      if (!asked()) return;
      told.classList.add("stale");
      timer = window.setTimeout(() => {
        const what = asked();
        if (what) void plan(what);
      }, PAUSE_MS);
    },
    clear() {
      clearTimeout(timer);
      turn++;
      told.textContent = "";
      byId("prompt-advice").hidden = true;
    },
    yield() {
      turn++;
      // It was about a prompt before the one that is made.
      if (told.classList.contains("stale")) byId("prompt-advice").hidden = true;
      if (time.ariaDisabled === "true") client.cancel("times");
    },
  };
  return box;
}
