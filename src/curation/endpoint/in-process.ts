/**
 * A model that sees without a server: transformers.js runs it in this process, and it answers as an endpoint does. The library is the
 * user's to install, and neither it nor the model is loaded before something must be asked. Two kinds of models are known: those that
 * take texts and pictures in turn (SmolVLM, Qwen-VL …), and those that caption one picture and hear nothing (Florence-2, ViT-GPT2 …).
 */
import { CogwheelError } from "../../base/errors.ts";
import { linkedAbort } from "../../base/linked-abort.ts";
import type { ChatAnswer, Endpoint } from "./endpoint.ts";
import { EndpointError } from "./faults.ts";
import { wordsOfSchema, type ChatRequest } from "./message.ts";
import type { EndpointOptions } from "./options.ts";
import { jsonIn, mismatch } from "./schema.ts";
import { Account, costOf } from "./spent.ts";

const EXAMPLE = "HuggingFaceTB/SmolVLM-256M-Instruct";
const PACKAGE = "@huggingface/transformers";
const SCHEME = "transformers:";

/** Whether an address names a model of this process: `transformers:` and a folder, or a name on the hub. */
export const isInProcess = (url: string): boolean => url.startsWith(SCHEME);

/** What is used of transformers.js. */
interface Library {
  readonly AutoConfig: Loads<{ readonly model_type: string }>;
  readonly AutoProcessor: Loads<Processor>;
  readonly AutoModelForImageTextToText: Loads<Generator>;
  readonly RawImage: { fromBlob(blob: Blob): Promise<object> };
  readonly InterruptableStoppingCriteria: new () => { interrupt(): void };
  readonly random: { seed(seed: number): void };
  pipeline(task: "image-to-text", model: string, options: object): Promise<Pipeline>;
}
interface Loads<Made> {
  from_pretrained(model: string, options: object): Promise<Made>;
}
interface Ids {
  readonly dims: readonly number[];
  slice(rows: null, columns: readonly [number, null]): Ids;
}
interface Inputs {
  readonly input_ids: Ids;
}
interface Processor {
  (text: string, pictures: readonly object[]): Promise<Inputs>;
  readonly tokenizer: (texts: readonly string[]) => Inputs;
  apply_chat_template(messages: readonly object[], options: { add_generation_prompt: true }): string;
  batch_decode(ids: Ids, options: { skip_special_tokens: true }): string[];
}
/** Florence-2's. */
interface TaskProcessor extends Pick<Processor, "batch_decode"> {
  (picture: object, task: string): Promise<Inputs>;
}
interface Generator {
  generate(options: object): Promise<Ids>;
}
type Pipeline = (picture: object, options: object) => Promise<readonly { readonly generated_text: string }[]>;

/** Says in words what a picture shows. @param how options of the library's `generate` */
type Captioner = (picture: object, task: "short" | "long", how: object) => Promise<string>;

/** Those whose processor takes a text with places of pictures, and then the pictures. */
const CHAT = ["smolvlm", "idefics3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "gemma3", "gemma3n"] as const;
const CAPTIONER = "vision-encoder-decoder";
const FLORENCE = "florence2";
/** Florence-2's tasks: the short one where an answer is asked for that has so few tokens. */
const TASKS = { short: "<CAPTION>", long: "<MORE_DETAILED_CAPTION>" } as const;
const SHORT_TOKENS = 256;
/** Tokens of an answer, where nobody says. */
const MOST_TOKENS = 512;

/** An answer, with how many tokens were read and made. */
interface Made {
  readonly text: string;
  readonly input: number;
  readonly output: number;
}
/** @param stop ends it early, when its `interrupt` is called */
type Answers = (request: ChatRequest, most: number, stop: object) => Promise<Made>;

/** A model in this process. Questions are answered one after another. */
export class InProcessModel implements Pick<Endpoint, "chat"> {
  /** The model's name in ledgers and messages, which is its address. */
  readonly modelName: string;
  readonly #options: EndpointOptions;
  readonly #account: Account;
  #model: Promise<{ readonly library: Library; readonly answers: Answers }> | undefined;
  #before: Promise<unknown> = Promise.resolve();

  /** @param options of which `body` goes to `from_pretrained` (`dtype`, `device`, `revision`), but for `max_tokens` */
  constructor(options: EndpointOptions) {
    if (options.url === SCHEME)
      throw new CogwheelError("endpoint", `${SCHEME} must be followed by a model, got nothing; such as ${SCHEME}${EXAMPLE}`);
    if (options.model !== undefined)
      throw new CogwheelError("endpoint", `${options.url} names its model, got ${options.model} beside it; leave model out`);
    this.modelName = options.url;
    this.#options = options;
    this.#account = options.account ?? new Account();
  }

  /** As an endpoint's. Throws an {@link EndpointError}: of scope `endpoint` where the library or the model cannot be had. */
  async chat(request: ChatRequest, signal?: AbortSignal): Promise<ChatAnswer> {
    const turn = this.#before.then(() => this.#answer(request, signal));
    this.#before = turn.catch(() => {});
    return await turn;
  }

  async #answer(request: ChatRequest, given: AbortSignal | undefined): Promise<ChatAnswer> {
    given?.throwIfAborted();
    using own = linkedAbort(given);
    const { signal } = own;
    const { library, answers } = await (this.#model ??= this.#load());
    await this.#account.begin(signal);
    const began = performance.now();
    let made: Made | undefined;
    const most = Number(this.#options.body?.["max_tokens"] ?? request.maxTokens ?? MOST_TOKENS);
    try {
      const stop = new library.InterruptableStoppingCriteria();
      signal.addEventListener("abort", () => stop.interrupt());
      if (request.seed !== undefined) library.random.seed(request.seed);
      made = await answers(request, most, stop);
      signal.throwIfAborted();
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof EndpointError) throw error;
      throw this.#error("request", `must answer, got ${(error as Error).message}; look at what the library says`, error);
    } finally {
      this.#account.end(made, this.#options);
    }
    const { text, ...usage } = made;
    const answer = {
      text: text.trim(),
      model: this.modelName,
      finish: usage.output >= most ? "length" : "stop",
      usage,
      cost: costOf(usage, this.#options),
      ms: performance.now() - began,
    };
    if (!request.schema) return answer;
    const value = jsonIn(text);
    const wrong = value === undefined ? "the answer must hold a JSON object" : mismatch(value, request.schema.schema);
    if (wrong) throw this.#error("request", `${wrong}, got ${JSON.stringify(text.slice(0, 80))}`);
    return { ...answer, value };
  }

  #error(scope: "request" | "endpoint", rule: string, cause?: unknown): EndpointError {
    return new EndpointError(scope, `${this.modelName}: ${rule}`, cause === undefined ? {} : { cause });
  }

  async #load(): Promise<{ library: Library; answers: Answers }> {
    const name = PACKAGE;
    const library = await (import(name) as Promise<Library>).catch((error: unknown) => {
      const rule = `a model without a server must be run by transformers.js, got none (${name} does not load); npm install ${name}`;
      throw this.#error("endpoint", `${rule}, or name a server's address`, error);
    });
    const model = this.modelName.slice(SCHEME.length);
    const { max_tokens: _, ...options } = this.#options.body ?? {};
    try {
      const { model_type: kind } = await library.AutoConfig.from_pretrained(model, options);
      if (kind === CAPTIONER || kind === FLORENCE) {
        const captioner = await (kind === FLORENCE ? florence : pipeline)(library, model, options);
        return { library, answers: (request, most, stop) => this.#caption(library, captioner, request, most, stop) };
      }
      if (!CHAT.some((known) => known === kind)) throw new Error(`${kind}, and known are ${[...CHAT, FLORENCE, CAPTIONER].join(", ")}`);
      const processor = await library.AutoProcessor.from_pretrained(model, options);
      const generator = await library.AutoModelForImageTextToText.from_pretrained(model, options);
      return { library, answers: (request, most, stop) => converse(library, processor, generator, request, most, stop) };
    } catch (error) {
      throw this.#error(
        "endpoint",
        `must be a model that sees in transformers.js's layout, got ${(error as Error).message}; name another`,
        error,
      );
    }
  }

  /** One picture, the middle one of those that it is asked about: it hears no words. */
  async #caption(
    library: Library,
    captioner: Captioner,
    { parts, schema, temperature, maxTokens = MOST_TOKENS }: ChatRequest,
    most: number,
    stop: object,
  ): Promise<Made> {
    const pictures = parts.flatMap((part) => ("jpeg" in part ? [part.jpeg] : []));
    if (schema || pictures.length === 0)
      throw this.#error(
        "endpoint",
        `only captions a picture, and cannot ${schema ? "label clips" : "merge captions"}; ` +
          (schema ? "name another model in label.url" : "name a model that writes in summariserUrl, or say path clip"),
      );
    const picture = await pictureOf(library, pictures[pictures.length >> 1]!);
    const how = { max_new_tokens: most, ...sampling(temperature), stopping_criteria: stop };
    const text = await captioner(picture, maxTokens <= SHORT_TOKENS ? "short" : "long", how);
    return { text, input: 0, output: 0 };
  }
}

async function pipeline(library: Library, model: string, options: object): Promise<Captioner> {
  const made = await library.pipeline("image-to-text", model, options);
  return async (picture, _, how) => (await made(picture, how))[0]!.generated_text;
}

async function florence(library: Library, model: string, options: object): Promise<Captioner> {
  const processor = (await library.AutoProcessor.from_pretrained(model, options)) as unknown as TaskProcessor;
  const generator = await library.AutoModelForImageTextToText.from_pretrained(model, options);
  return async (picture, task, how) => {
    const ids = await generator.generate({ ...(await processor(picture, TASKS[task])), ...how });
    return processor.batch_decode(ids, { skip_special_tokens: true })[0]!;
  };
}

const sampling = (temperature = 0): object => (temperature > 0 ? { do_sample: true, temperature } : { do_sample: false });

const pictureOf = ({ RawImage }: Library, jpeg: Uint8Array): Promise<object> =>
  RawImage.fromBlob(new Blob([Uint8Array.from(jpeg)], { type: "image/jpeg" }));

/** Texts and pictures in their order, by the model's own template. */
async function converse(
  library: Library,
  processor: Processor,
  generator: Generator,
  { system, before = [], parts, schema, temperature }: ChatRequest,
  most: number,
  stop: object,
): Promise<Made> {
  const text = (words: string): object => ({ type: "text", text: words });
  const instructions = [system, schema && wordsOfSchema(schema.schema)].filter((one) => one !== undefined).join("\n\n");
  const prompt = processor.apply_chat_template(
    [
      ...(instructions ? [{ role: "system", content: [text(instructions)] }] : []),
      ...before.map((turn) => ({ role: turn.role, content: [text(turn.text)] })),
      { role: "user", content: parts.map((part) => ("text" in part ? text(`${part.text}\n`) : { type: "image" })) },
    ],
    { add_generation_prompt: true },
  );
  const pictures = await Promise.all(parts.flatMap((part) => ("jpeg" in part ? [pictureOf(library, part.jpeg)] : [])));
  const inputs = pictures.length ? await processor(prompt, pictures) : processor.tokenizer([prompt]);
  const ids = await generator.generate({ ...inputs, max_new_tokens: most, ...sampling(temperature), stopping_criteria: stop });
  const input = inputs.input_ids.dims.at(-1)!;
  const [said] = processor.batch_decode(ids.slice(null, [input, null]), { skip_special_tokens: true });
  return { text: said!, input, output: ids.dims.at(-1)! - input };
}
