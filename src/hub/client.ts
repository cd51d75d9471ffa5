/** What is taken of the hub's client in a browser. It is a module of its own so that a bundle carries this much and no more. */
export { HUB_URL, modelInfo } from "@huggingface/hub";
