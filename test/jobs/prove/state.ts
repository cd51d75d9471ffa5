/** What a proof has done so far, on the disk: it may be stopped or killed, and goes on from there. */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** What was found out of jobs whose workers are killed. */
export interface KillState {
  /** SHA-256 of what jobs give when nothing disturbs them, by kind. */
  whole?: string[];
  /** Of each worker, and of the servers. */
  kills: number[];
  serverKills: number;
  /** The step that was saved of a job when its worker was killed; what comes after must go on from there or later. */
  saved: Record<string, number>;
  /** How often a worker said that it did a job. */
  done: Record<string, number>;
  goneOn: number;
  again: number;
  seconds: number;
  problems: string[];
}

export const noKills = (): KillState => ({
  ...{ kills: [], serverKills: 0, saved: {}, done: {}, goneOn: 0, again: 0, seconds: 0, problems: [] },
});

/** A part of the proof that is over. */
export interface Proof {
  readonly problems: readonly string[];
  /** What was done, and what it cost. */
  readonly words: string;
}

/** A part's file in the folder of the proof. @typeParam T what it has */
export class Kept<T extends object> {
  #writing: Promise<void> = Promise.resolve();

  private constructor(
    private readonly path: string,
    readonly value: T,
  ) {}

  static async open<T extends object>(folder: string, name: string, fresh: T): Promise<Kept<T>> {
    await mkdir(folder, { recursive: true });
    const path = join(folder, `${name}.json`);
    const text = await readFile(path, "utf8").catch(() => undefined);
    return new Kept(path, text === undefined ? fresh : (JSON.parse(text) as T));
  }

  /** Writes it as it is now, whole; one after another. */
  async save(): Promise<void> {
    this.#writing = this.#writing.then(async () => {
      await writeFile(`${this.path}.part`, JSON.stringify(this.value));
      await rename(`${this.path}.part`, this.path);
    });
    await this.#writing;
  }
}

/** The time of a run is over; what is there is kept. */
export class OutOfTime extends Error {}
