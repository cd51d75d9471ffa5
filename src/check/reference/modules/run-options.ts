/** The options of a training run's case, each of its kind. */
import { brief } from "../../../base/brief.ts";
import { CogwheelError } from "../../../base/errors.ts";
import type { OptimizerOptions } from "../../../training/optimizer.ts";
import type { ReferenceCase } from "../reference-case.ts";

/** The options of a run, each of its kind. */
export class RunOptionsOfCase {
  constructor(
    private readonly c: ReferenceCase,
    private readonly values: Readonly<Record<string, unknown>> = c.options,
    private readonly path = "options",
  ) {}

  #fail(name: string, rule: string): never {
    throw new CogwheelError("reference", `${this.c.name}: ${this.path}.${name} ${rule}, got ${brief(this.values[name])}; correct it`);
  }
  number(name: string): number | undefined {
    const value = this.values[name] ?? undefined;
    return value === undefined || typeof value === "number" ? value : this.#fail(name, "must be a number");
  }
  text(name: string, known: readonly string[]): string | undefined {
    const value = this.values[name] ?? undefined;
    return value === undefined || known.includes(value as string)
      ? (value as string | undefined)
      : this.#fail(name, `must be ${known.join(" or ")}`);
  }
  list<T>(name: string, kind: "number" | "string"): readonly T[] | undefined {
    const value = this.values[name] ?? undefined;
    if (value === undefined) return undefined;
    return Array.isArray(value) && value.every((one) => typeof one === kind)
      ? (value as T[])
      : this.#fail(name, `must be a list of ${kind}s`);
  }
  group(name: string): RunOptionsOfCase | undefined {
    const value = this.values[name] ?? undefined;
    if (value === undefined) return undefined;
    if (typeof value !== "object" || Array.isArray(value)) return this.#fail(name, "must be an object");
    return new RunOptionsOfCase(this.c, value as Record<string, unknown>, `${this.path}.${name}`);
  }
}

/** The optimizer's settings; what is left out is torch's default. */
export function torchOptimizer(options: RunOptionsOfCase | undefined): OptimizerOptions & { lr: number } {
  options?.text("name", ["adamw"]);
  const [beta1 = 0.9, beta2 = 0.999] = options?.list<number>("betas", "number") ?? [];
  return {
    name: "adamw",
    lr: options?.number("lr") ?? 1e-3,
    betas: [beta1, beta2],
    eps: options?.number("eps") ?? 1e-8,
    weightDecay: options?.number("weight_decay") ?? 1e-2,
  };
}
