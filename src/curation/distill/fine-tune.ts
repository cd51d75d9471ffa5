/**
 * A student by OpenAI's fine-tuning API, or whatever speaks it: files are uploaded, a job is made, and asked for until it is over. What is
 * under way is told to the caller after every step, so that a process that was ended goes on with the same job.
 */
import { CogwheelError } from "../../base/errors.ts";
import { isObject } from "../../base/json-scan.ts";
import { pause } from "../../base/pause.ts";
import { apiBase, below, shownAddress } from "../endpoint/address.ts";
import { EndpointError } from "../endpoint/faults.ts";
import { Gate } from "../endpoint/gate.ts";
import { exchange, type Sending, type Wire } from "../endpoint/send.ts";
import { digest } from "../ledger/key.ts";

/** What is under way. */
export interface FineTuneState {
  /** Digest of the files and of what was asked for: another set is another job. */
  readonly of: string;
  readonly trainFile?: string;
  readonly validationFile?: string;
  readonly job?: string;
  readonly status?: string;
  /** The student, when it is there. */
  readonly model?: string;
}

export interface FineTuneOptions {
  readonly url: string;
  readonly key?: string;
  /** The model to be tuned. */
  readonly base: string;
  /** Lines of `messages`. */
  readonly train: string;
  readonly validation?: string;
  readonly epochs?: number;
  readonly suffix?: string;
  readonly seed?: number;
  /** What an earlier process left. */
  readonly state?: FineTuneState | undefined;
  /** Keeps what is under way; the next step waits for it. */
  keep(state: FineTuneState): Promise<void>;
  /** Seconds between two looks at the job. Default 20. */
  readonly pollSeconds?: number;
  readonly tries?: number;
  readonly fetch?: typeof globalThis.fetch;
  readonly signal?: AbortSignal;
  onStatus?(status: string): void;
}

const MAKE_TRIES = 4;
const OVER = new Set(["succeeded", "failed", "cancelled"]);

/** Resolves to the student's name. Throws where the job fails, with the server's words; the next call then makes another job. */
export async function fineTune(options: FineTuneOptions): Promise<string> {
  const { base, train, validation = "", epochs, suffix, seed, keep, pollSeconds = 20, signal, onStatus } = options;
  const api = apiBase(options.url);
  const authorization = options.key === undefined ? api.authorization : `Bearer ${options.key}`;
  const wire: Wire = {
    gate: new Gate(1),
    label: shownAddress(api),
    tries: options.tries ?? 8,
    timeoutSeconds: 120,
    longestWaitSeconds: 600,
    fetch: options.fetch,
    headers: authorization === undefined ? {} : { authorization },
  };
  const ask = async (path: string, what: Omit<Sending, "signal">, tries = wire.tries): Promise<Record<string, unknown>> => {
    const got = await exchange({ ...wire, tries }, below(api, path), { ...what, signal });
    if (!got.ok)
      throw new EndpointError(got.refusal.scope, `${wire.label}: ${path} must be answered, got ${got.refusal.status} ${got.refusal.words}`);
    if (!isObject(got.body)) throw new EndpointError("request", `${wire.label}: ${path} must give an object, got another answer`);
    return got.body;
  };
  const idOf = (body: Record<string, unknown>, what: string): string => {
    if (typeof body["id"] === "string") return body["id"];
    throw new EndpointError("request", `${wire.label}: ${what} must have an id, got ${JSON.stringify(body).slice(0, 80)}`);
  };
  const of = digest([shownAddress(api), base, train, validation, epochs, suffix, seed]);
  let state: FineTuneState =
    options.state?.of === of && !["failed", "cancelled"].includes(options.state.status ?? "") ? options.state : { of };
  const reached = async (more: Partial<FineTuneState>): Promise<void> => {
    state = { ...state, ...more };
    await keep(state);
  };
  // A job costs money: one whose answer was lost is found again, and is not made twice.
  const makeJob = async (): Promise<string> => {
    const body = {
      model: base,
      training_file: state.trainFile,
      validation_file: state.validationFile,
      seed,
      suffix,
      ...(epochs === undefined ? {} : { method: { type: "supervised", supervised: { hyperparameters: { n_epochs: epochs } } } }),
    };
    for (let attempt = 1; ; attempt++) {
      const { data } = await ask("fine_tuning/jobs", {});
      const there = Array.isArray(data) ? data.find((one) => isObject(one) && one["training_file"] === state.trainFile) : undefined;
      if (there) return idOf(there as Record<string, unknown>, "a job");
      try {
        const headers = { "content-type": "application/json" };
        return idOf(await ask("fine_tuning/jobs", { post: JSON.stringify(body), headers }, 1), "a job");
      } catch (error) {
        if (!(error instanceof EndpointError) || error.scope === "endpoint" || attempt === MAKE_TRIES) throw error;
        await pause(500 * 2 ** attempt, signal);
      }
    }
  };
  const upload = async (name: string, text: string): Promise<string> => {
    const form = new FormData();
    form.set("purpose", "fine-tune");
    form.set("file", new Blob([text], { type: "application/jsonl" }), name);
    onStatus?.(`uploading ${name}`);
    return idOf(await ask("files", { post: form }), "an upload");
  };
  if (state.trainFile === undefined) await reached({ trainFile: await upload("train.jsonl", train) });
  if (validation !== "" && state.validationFile === undefined)
    await reached({ validationFile: await upload("validation.jsonl", validation) });
  if (state.job === undefined) await reached({ job: await makeJob() });
  for (;;) {
    const job = await ask(`fine_tuning/jobs/${encodeURIComponent(state.job!)}`, {});
    const status = String(job["status"]);
    if (status !== state.status) {
      onStatus?.(status);
      await reached({ status });
    }
    if (status === "succeeded" && typeof job["fine_tuned_model"] === "string") {
      await reached({ model: job["fine_tuned_model"] });
      return job["fine_tuned_model"];
    }
    if (OVER.has(status)) {
      const error = isObject(job["error"]) ? String(job["error"]["message"] ?? "") : "";
      throw new CogwheelError(
        "distill",
        `the job ${state.job} must succeed, got ${status}${error ? `: ${error.slice(0, 300)}` : ""}; see its page`,
        { code: "failed" },
      );
    }
    await pause(1000 * pollSeconds, signal);
  }
}
