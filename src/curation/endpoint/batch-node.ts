/** Batch files in a folder: requests that are written as they come, in as many files as they need, and answers that lie beside them. */
import { appendFile, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { BATCH_LIMITS, batchLine, type BatchAnswer, type BatchRequest, readBatchAnswers } from "./batch.ts";
import { EndpointError } from "./faults.ts";

/** Where answers are put. */
export const ANSWERS = "answers";

/** What was found in a folder. */
export interface BatchAnswers {
  readonly answers: ReadonlyMap<string, BatchAnswer>;
  /** `file:line` of what is none. */
  readonly broken: readonly string[];
}

/** All answers of `FOLDER/answers/*.jsonl`; of two to one request the one that is an answer. */
export async function readAnswers(folder: string): Promise<BatchAnswers> {
  const answers = new Map<string, BatchAnswer>();
  const broken: string[] = [];
  const names = await readdir(join(folder, ANSWERS)).catch(() => []);
  for (const name of names.filter((one) => one.endsWith(".jsonl")).sort()) {
    const found = readBatchAnswers(await readFile(join(folder, ANSWERS, name), "utf8"));
    broken.push(...found.broken.map((line) => `${name}:${line}`));
    for (const one of found.answers) if ("reply" in one || !answers.has(one.id)) answers.set(one.id, one);
  }
  return { answers, broken };
}

/** Writes requests to `FOLDER/NAME-000.jsonl` and on; a file has requests of one model. */
export class BatchWriter {
  readonly files: string[] = [];
  count = 0;
  #bytes = 0;
  #inFile = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(
    readonly folder: string,
    readonly name: string,
    readonly limits: { requests: number; bytes: number } = BATCH_LIMITS,
  ) {}

  /** Takes away what an earlier run wrote: its requests that have no answer yet are written again. */
  async clear(): Promise<void> {
    await mkdir(join(this.folder, ANSWERS), { recursive: true });
    for (const one of await readdir(this.folder)) if (new RegExp(`^${this.name}-\\d+\\.jsonl$`).test(one)) await rm(join(this.folder, one));
  }

  /** Adds a request; one after another, whoever calls. */
  readonly sink = (request: BatchRequest): Promise<void> => {
    this.#last = this.#last.then(() => this.#add(request));
    return this.#last;
  };

  async #add(request: BatchRequest): Promise<void> {
    const line = batchLine(request);
    if (line.length > this.limits.bytes)
      throw new EndpointError(
        "endpoint",
        `a request must fit a batch file of ${this.limits.bytes} bytes, got ${line.length}; take smaller frames`,
      );
    if (this.files.length === 0 || this.#inFile === this.limits.requests || this.#bytes + line.length > this.limits.bytes) {
      this.files.push(join(this.folder, `${this.name}-${String(this.files.length).padStart(3, "0")}.jsonl`));
      this.#bytes = this.#inFile = 0;
    }
    await appendFile(this.files.at(-1)!, line);
    this.#bytes += line.length;
    this.#inFile++;
    this.count++;
  }
}
