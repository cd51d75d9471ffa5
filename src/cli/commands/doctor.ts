/** `cogwheel doctor`: whether this machine is fit, and what it can run. */
import { defineCommand } from "../command.ts";
import type { DoctorOptions } from "../doctor.ts";

export const doctor = defineCommand<[], DoctorOptions>({
  name: "doctor",
  help: "say what this machine has, whether the engine computes right on it and how fast, and which published models it can run",
  printsResult: true,
  declare: (command) =>
    command
      .option("--adapter <name>", "gpu, lavapipe, swiftshader, or part of an adapter's name (default: the fastest here)")
      .option("--no-cases", "leave out the reference cases; on two cores of a CPU they take half a minute to two")
      .option("--seconds", "measure how fast the adapter is, to tell how long models take (default: on GPUs)")
      .option("--no-models", "leave out what the published models take, which takes about a minute of processor time to plan")
      .option("--report <file>", "write all that was found as JSON, to send with a question")
      .option("--json", "print JSON"),
  async run(_, options) {
    const { examine } = await import("../doctor.ts");
    return await examine(options);
  },
});
