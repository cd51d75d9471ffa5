/** The adapters that requests may ask for, by names that whoever started the server gave them. */
import { CogwheelError } from "../base/errors.ts";
import { keepAdapter } from "../jobs/adapters.ts";
import type { JobBackend } from "../jobs/backend.ts";
import type { JobAdapter } from "../jobs/job.ts";
import { changesOf } from "../pipelines/cogvideox/adapters.ts";
import type { ModelOffer } from "../pipelines/cogvideox/offer.ts";
import { loadLora } from "../pipelines/lora-file.ts";
import { ApiError, invalid } from "./errors.ts";

export interface AdapterOptions {
  /** Bytes of their files, by name. */
  readonly files: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
  /** The largest scale that may be asked for, up or down. */
  readonly maxScale: number;
}

/** What `lora` holds: one by its name, or several as diffusers' `set_adapters` takes them. */
export type LoraField =
  | { readonly name: string; readonly scale?: number | undefined }
  | { readonly adapter_names: string | readonly string[]; readonly adapter_weights?: number | readonly number[] | undefined };

const NAME = /^[\w.-]{1,64}$/;

export class Adapters {
  private constructor(
    private readonly blobs: ReadonlyMap<string, string>,
    private readonly maxScale: number,
  ) {}

  /** Reads them, checks that the model has what they change, and keeps them with the jobs. */
  static async open({ blobs }: Pick<JobBackend, "blobs">, offer: ModelOffer, { files, maxScale }: AdapterOptions): Promise<Adapters> {
    const kept = new Map<string, string>();
    for (const [name, bytes] of files) {
      if (!NAME.test(name))
        throw new CogwheelError("serve", `an adapter's name must be 1 to 64 letters, digits, dots and dashes, got ${JSON.stringify(name)}`);
      await changesOf(offer, [{ ...(await loadLora(bytes)), label: name, scale: 1 }]);
      kept.set(name, await keepAdapter(blobs, bytes));
    }
    return new Adapters(kept, maxScale);
  }

  get names(): readonly string[] {
    return [...this.blobs.keys()];
  }

  /** What a request asks for. Throws for others, and for scales beyond the limit. */
  chosen(field: LoraField): readonly JobAdapter[] {
    const [names, scales] =
      "name" in field
        ? [[field.name], [field.scale]]
        : [[field.adapter_names].flat(), field.adapter_weights === undefined ? [] : [field.adapter_weights].flat()];
    // One weight is every adapter's.
    const each = scales.length === 1 ? names.map(() => scales[0]) : scales;
    if (each.length > 0 && each.length !== names.length)
      throw invalid(
        `adapter_weights must be one for each of ${names.length} adapters, got ${each.length}; leave it out for 1 each`,
        "lora",
      );
    const twice = names.find((name, at) => names.indexOf(name) !== at);
    if (twice !== undefined) throw invalid(`an adapter must be named once, got ${JSON.stringify(twice)} twice; add its weights up`, "lora");
    return names.map((name, at) => {
      const blob = this.blobs.get(name);
      const known = this.names.length ? `among ${this.names.join(", ")}` : "one that the server was started with, which are none";
      if (blob === undefined)
        throw new ApiError(
          400,
          "adapter_not_found",
          `an adapter must be ${known}, got ${JSON.stringify(name.slice(0, 80))}; GET /v1/models lists them`,
          { param: "lora" },
        );
      const scale = each[at] ?? 1;
      if (!(Math.abs(scale) <= this.maxScale))
        throw invalid(
          `an adapter's scale must be from -${this.maxScale} to ${this.maxScale} here, got ${scale}; choose a smaller one`,
          "lora",
        );
      return { name, blob, scale };
    });
  }
}
