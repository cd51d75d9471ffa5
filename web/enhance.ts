/** The part of the form that has the prompt rewritten: nothing is sent before its button is pressed, and what comes may be taken back. */
import type { EnhancedPrompt } from "../src/index.ts";
import { shortenedLines, visible } from "../src/base/visible.ts";
import { type Client, WorkerError } from "./client.ts";
import { byId } from "./dom.ts";
import type { ModelChoice, News } from "./protocol.ts";

/** @param image the picture that the video begins from, where it does */
export function enhanceBox(
  client: Client,
  { model, image, news }: { model: () => ModelChoice; image: () => File | null; news: (n: News) => void },
): void {
  const prompt = byId<HTMLTextAreaElement>("prompt");
  const [button, undo, told] = [byId<HTMLButtonElement>("enhance"), byId<HTMLButtonElement>("enhance-undo"), byId("enhance-told")];
  const value = (id: string): string => byId<HTMLInputElement>(id).value.trim();
  let own = "";
  /** As if it was typed, so that all who listen to the form know. */
  const write = (text: string): void => {
    prompt.value = text;
    prompt.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const tell = (text: string): void => {
    told.textContent = shortenedLines(text);
  };

  button.addEventListener("click", async () => {
    if (button.ariaDisabled === "true") return;
    const url = value("enhance-url");
    if (!url) {
      tell("Name the address of a server, such as http://localhost:8000/v1 (vLLM, llama.cpp, Ollama, LM Studio …).");
      byId("enhance-url").focus();
      return;
    }
    const from = prompt.value;
    button.ariaDisabled = "true";
    tell("Asking …");
    try {
      const request = { model: model(), prompt: from, image: image(), url, served: value("enhance-model"), key: value("enhance-key") };
      const made = await client.ask<EnhancedPrompt>({ type: "enhance", request }, news);
      if (made.enhanced) {
        own = undo.hidden ? from : own;
        write(made.prompt);
        undo.hidden = false;
        tell(`Written by ${visible(made.model ?? "")}${made.cached ? ", kept from before" : ""}. Change it as you like.`);
      } else tell(`The prompt stays as it is. ${made.reason ?? ""}`);
    } catch (error) {
      tell(error instanceof WorkerError && error.cancelled ? "Stopped." : (error as Error).message);
    } finally {
      button.ariaDisabled = null;
    }
  });
  undo.addEventListener("click", () => {
    write(own);
    undo.hidden = true;
    tell("");
  });
}
