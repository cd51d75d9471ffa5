/** Training of a model's own weights, all of them or those that a filter names. */
import { CogwheelError } from "../base/errors.ts";
import type { Trained } from "./parameters.ts";

/** Weights that the reference implementation keeps as buffers: nothing trains them. */
const BUFFERS = /(?:^|\.)pos_embedding$/;

/** @param weights the state-dict names of the model @param filter which of them are trained; default: all */
export function fullParameters(weights: Iterable<string>, filter: (name: string) => boolean = () => true): Trained {
  const names = [...weights].filter((name) => !BUFFERS.test(name));
  const trained = new Set(names.filter(filter));
  if (trained.size === 0)
    throw new CogwheelError(
      "training",
      `at least one weight must be trained, got a filter that takes none of ${names.length}, such as ${names[0]}; correct it`,
    );
  return {
    kind: "full",
    has(asked) {
      const taken = asked.filter((name) => trained.has(name));
      if (taken.length > 0 && taken.length < asked.length)
        throw new CogwheelError(
          "training",
          `${asked.join(" and ")} lie in one tensor and are trained together, got ${taken.join()} alone; take all or none of them`,
        );
      return taken.length > 0;
    },
    input: () => undefined,
    initial: () => "checkpoint",
  };
}
