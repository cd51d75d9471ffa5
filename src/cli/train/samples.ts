/**
 * Pictures of a run in its folder, made after some of its steps: always its first and last ones, and of those between so few that neither
 * the folder nor the report grows with the run. They are read when a report is made.
 */
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import type { RunFolder } from "./run-folder.ts";

/** What was made after a step; undefined where a picture is no more. */
export interface StepPictures {
  readonly step: number;
  readonly pngs: readonly (Uint8Array | undefined)[];
}

const FOLDER = "samples";
/** Steps whose pictures are kept, besides the last ones. */
const MOST_KEPT = 64;
/** Steps that a report shows, besides the first one. */
const LAST_SHOWN = 6;

/** The first and the last few of what is in order. */
export const firstAndLast = <T>(all: readonly T[]): T[] => all.filter((_, i) => i === 0 || i >= all.length - LAST_SHOWN);

/** Are a step's pictures kept? It follows from the steps alone, so a run that was killed keeps the same ones. @param every of how many steps */
export function isKept(step: number, last: number, every: number): boolean {
  if (step === last || step > last - LAST_SHOWN * every) return true;
  let apart = every;
  while (last / apart > MOST_KEPT) apart *= 2;
  return step % apart === 0;
}

export class Samples {
  #steps: number[] = [];

  /** @param count pictures of a step @param every steps between two */
  constructor(
    private readonly folder: RunFolder,
    private readonly count: number,
    private readonly every: number,
  ) {}

  /** Goes on with a run; what one that was killed has made after later steps is made again. */
  async goOn(upTo: number): Promise<void> {
    const names = await readdir(this.folder.at(FOLDER)).catch(() => []);
    const steps = names.map((name) => Number(/^step-(\d+)(?:-1)?\.png$/.exec(name)?.[1])).filter((step) => step <= upTo);
    this.#steps = [...new Set(steps)].sort((a, b) => a - b);
  }

  /** Steps that there are pictures of, in order. */
  get steps(): readonly number[] {
    return this.#steps;
  }

  async add(step: number, pngs: readonly Uint8Array[]): Promise<void> {
    await mkdir(this.folder.at(FOLDER), { recursive: true });
    for (const [i, png] of pngs.entries()) await this.folder.write(this.#nameOf(step, i), png);
    const all = [...this.#steps.filter((one) => one !== step), step];
    this.#steps = all.filter((one) => isKept(one, step, this.every));
    for (const gone of all.filter((one) => !this.#steps.includes(one)))
      for (let i = 0; i < this.count; i++) await rm(this.folder.at(this.#nameOf(gone, i)), { force: true });
  }

  /** Pictures of steps, as they lie in the folder. */
  async read(steps: readonly number[]): Promise<StepPictures[]> {
    const one = (step: number, i: number): Promise<Uint8Array | undefined> =>
      readFile(this.folder.at(this.#nameOf(step, i))).catch(() => undefined);
    const of = async (step: number): Promise<StepPictures> => ({
      step,
      pngs: await Promise.all(Array.from({ length: this.count }, (_, i) => one(step, i))),
    });
    return await Promise.all(steps.map(of));
  }

  #nameOf(step: number, index: number): string {
    return `${FOLDER}/step-${String(step).padStart(6, "0")}${this.count > 1 ? `-${index + 1}` : ""}.png`;
  }
}
