/** The page's words for errors. */
import { expect, it } from "vitest";
import { inWords } from "../../web/trouble.ts";

it("errors of the engine are two sentences, with the whole message behind them; others stay as they are", () => {
  const details = "[generate] steps must be at least 1, got 0; ask for more";
  expect(inWords(details)).toEqual({ what: "Steps must be at least 1 (got 0).", remedy: "Ask for more.", details });
  const path = `[checkpoint] vae/config.json: it must be whole, got ${"x".repeat(90)}; finish the download`;
  expect(inWords(path), "a path keeps its letters, a long value is in the details").toEqual({
    what: "vae/config.json: it must be whole.",
    remedy: "Finish the download.",
    details: path,
  });
  expect(inWords("[video] no remedy is known, got none")).toMatchObject({ what: "No remedy is known (got none).", remedy: "" });
  expect(inWords("Array buffer allocation failed").remedy).toBe("Choose a smaller size or fewer frames.");
  expect(inWords("The worker stopped; so there.")).toEqual({ what: "The worker stopped; so there.", remedy: "", details: "" });
});
