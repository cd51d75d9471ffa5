import { defineConfig } from "vitest/config";

// Two processes take files in turn, each with one device that all of its files share: what compiles shaders and what computes use a
// machine's cores by turns. What is timed is timed in a file that others may run beside, and asks for no more than that allows.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: "test/support/built.ts",
    pool: "forks",
    isolate: false,
    maxWorkers: 2,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Kernels as they are chosen without measurements, whatever this machine's user measured.
    // And every prompt is encoded, whatever was encoded before.
    env: { COGWHEEL_TUNING: "off", COGWHEEL_PROMPT_CACHE: "off" },
  },
});
