/** The table of options: what is derived from it agrees with it, for every option. */
import { describe, expect, it } from "vitest";
import { CogwheelError } from "../../src/base/errors.ts";
import { checkOptions, rangeText } from "../../src/pipelines/options/check.ts";
import { TASKS } from "../../src/models/cogvideox/task.ts";
import { number } from "../../src/pipelines/options/option.ts";
import { isSaved, SAVED_TYPES, savedSettings, takenUp } from "../../src/pipelines/options/saved.ts";
import { OPTION_LIST } from "../../src/pipelines/options/table.ts";
import { adviceFrom } from "../../src/pipelines/settings.ts";

/** What is wrong with an option's value; undefined where nothing is. */
function refusal(name: string, value: unknown): string | undefined {
  try {
    checkOptions({ prompt: "a circle", [name]: value });
    return undefined;
  } catch (error) {
    expect(error).toBeInstanceOf(CogwheelError);
    return (error as Error).message;
  }
}

describe("values", () => {
  const numbers = OPTION_LIST.filter(([, { values }]) => values.kind === "number");
  it.for(numbers)("%s: the ends of its range are taken, what lies beyond is not", ([name, { values }]) => {
    const { min, max, above, whole } = values;
    for (const inside of [min, max, above === undefined ? undefined : above + 1e-9])
      if (inside !== undefined) expect(refusal(name, inside), `${inside}`).toBeUndefined();
    for (const outside of [min === undefined ? undefined : min - 1, above, max === undefined ? undefined : max + 1])
      if (outside !== undefined) expect(refusal(name, outside), `${outside}`).toContain(`must be ${rangeText(values)}, got ${outside}`);
    if (whole) expect(refusal(name, 1.5)).toContain("a whole number");
    if (min !== undefined || above !== undefined) for (const none of [NaN, "2", null]) expect(refusal(name, none)).toMatch(/, got /);
  });

  const choices = OPTION_LIST.filter(([, { values }]) => values.kind === "choice");
  it.for(choices)("%s: its choices and no others", ([name, { values }]) => {
    for (const one of Object.keys(values.choices!)) expect(refusal(name, one), one).toBeUndefined();
    for (const other of ["toString", "", 1]) expect(refusal(name, other)).toContain(`got ${JSON.stringify(other)}`);
  });

  it.for([
    [number({ whole: true, min: 1, max: 64 }), "a whole number from 1 to 64"],
    [number({ min: 0 }), "a number from 0 up"],
    [number({ above: 0, max: 240 }), "a number above 0 and up to 240"],
    [number({ whole: true, max: Number.MAX_SAFE_INTEGER }), "a whole number up to 2^53 − 1"],
    [number(), "a number"],
  ] as const)("a range in words: %j", ([values, words]) => expect(rangeText(values)).toBe(words));
});

describe("saved latents", () => {
  const of = (kind: string) => (kind === "number" ? 1 : kind === "numbers" ? [2, 1] : kind === "switch" ? true : "some");
  const all = Object.fromEntries(OPTION_LIST.map(([name, { values }]) => [name, of(values.kind)]));

  it("keep the options that say so, each with the type of its values", () => {
    const saved = savedSettings(all);
    expect(Object.keys(saved)).toEqual(OPTION_LIST.filter(([, option]) => option.saved).map(([name]) => name));
    for (const [name, value] of Object.entries(saved)) expect(isSaved(value, SAVED_TYPES.get(name)!), name).toBe(true);
    expect(savedSettings({ seed: undefined, tiling: "exact", task: "text" })).toEqual({ task: "text" });
  });

  it.for(TASKS)("give back what belongs to the task: %s", (task) => {
    const taken = takenUp(savedSettings({ ...all, task }), task);
    expect("strength" in taken).toBe(task === "video");
    expect(taken).toMatchObject({ seed: 1, negative: "some", profile: "some", dynamicGuidance: true, width: 1 });
    for (const never of ["loras", "task", "fit"]) expect(taken).not.toHaveProperty(never);
    expect(takenUp({ task }, task)).toEqual({});
  });
});

it("a checkpoint's advice is read under diffusers' names, and nothing else of the file", () => {
  const json = { num_frames: 9, num_inference_steps: 4, guidance_scale: 3, fps: 8, width: 32, prompt: "no", frames: 1, seed: 2 };
  expect(adviceFrom(json)).toEqual({ frames: 9, steps: 4, guidance: 3, fps: 8, width: 32 });
});
