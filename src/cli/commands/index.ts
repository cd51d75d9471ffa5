/** All commands, in the order of the help: a new one is a file here and a line below. */
import type { CliCommand } from "../command.ts";
import { adapters } from "./adapters.ts";
import { cache } from "./cache.ts";
import { completion } from "./completion.ts";
import { data } from "./data.ts";
import { doctor } from "./doctor.ts";
import { generate } from "./generate.ts";
import { inspect } from "./inspect.ts";
import { models } from "./models.ts";
import { quantize } from "./quantize.ts";
import { queue } from "./queue.ts";
import { serve } from "./serve.ts";
import { train } from "./train.ts";
import { tune } from "./tune.ts";
import { vae } from "./vae.ts";
import { validate } from "./validate.ts";
import { worker } from "./worker.ts";

export const COMMANDS: readonly CliCommand[] = [
  generate,
  vae,
  validate,
  inspect,
  models,
  quantize,
  data,
  train,
  serve,
  worker,
  queue,
  tune,
  cache,
  doctor,
  adapters,
  completion(() => COMMANDS),
];
