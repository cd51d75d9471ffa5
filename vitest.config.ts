import { defineConfig } from "vitest/config";

// The GPU is one shared thing: test files run one after another, in one process that holds one device.
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    isolate: false,
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Kernels as they are chosen without measurements, whatever this machine's user measured.
    // And every prompt is encoded, whatever was encoded before.
    env: { COGWHEEL_TUNING: "off", COGWHEEL_PROMPT_CACHE: "off" },
  },
});
