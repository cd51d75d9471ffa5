/** What requests took: counted, priced, and held below what the user allows. */
import { pause } from "../../base/pause.ts";
import { EndpointError } from "./faults.ts";

/** What an endpoint charges, in whichever currency, for a million tokens. */
export interface Prices {
  readonly inputPerMillion?: number;
  readonly outputPerMillion?: number;
}

/** Tokens of a request and its answer, as the server counts them. */
export interface Usage {
  readonly input: number;
  readonly output: number;
}

/** What was spent so far. */
export interface Spent {
  /** Requests that were sent, those that failed too. */
  readonly requests: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** By the prices that were told; 0 where none were. */
  readonly cost: number;
}

/** The most that may be spent. */
export interface Limits {
  readonly maxRequests?: number;
  readonly maxCost?: number;
}

/** What a request with its answer cost. */
export const costOf = ({ input, output }: Usage, { inputPerMillion = 0, outputPerMillion = 0 }: Prices): number =>
  (input * inputPerMillion + output * outputPerMillion) / 1e6;

/**
 * An account of what several endpoints spend together. A request is refused before it is sent where its likely cost, the mean of those
 * before, would go above the limit; the first ones of a run, of which nothing is known yet, go one by one.
 */
export class Account {
  #requests = 0;
  #answers = 0;
  #input = 0;
  #output = 0;
  #cost = 0;
  #underWay = 0;

  constructor(readonly limits: Limits = {}) {}

  get spent(): Spent {
    return { requests: this.#requests, inputTokens: this.#input, outputTokens: this.#output, cost: this.#cost };
  }

  /**
   * Takes note of a request that is about to be sent; throws where the limits do not allow it. While nobody knows what one costs, others
   * wait here for the first.
   */
  async begin(signal?: AbortSignal): Promise<void> {
    while (this.limits.maxCost !== undefined && this.#answers === 0 && this.#underWay > 0) await pause(20, signal);
    const { maxRequests = Infinity, maxCost = Infinity } = this.limits;
    if (this.#requests >= maxRequests)
      throw new EndpointError("endpoint", `requests must stay within maxRequests, got ${maxRequests} sent; raise --max-requests to go on`);
    const mean = this.#answers ? this.#cost / this.#answers : 0;
    if (this.#cost >= maxCost || this.#cost + mean * (this.#underWay + 1) > maxCost)
      throw new EndpointError(
        "endpoint",
        `the cost must stay within maxCost ${maxCost}, got ${money(this.#cost)} spent and ${money(mean)} for the next request; ` +
          "raise --max-cost to go on",
      );
    this.#requests++;
    this.#underWay++;
  }

  /** A request is over. @param usage of its answer, where there was one */
  end(usage?: Usage, prices: Prices = {}): void {
    this.#underWay--;
    if (usage) this.add(usage, prices);
  }

  /** Adds an answer that came otherwise: from a batch file. */
  add(usage: Usage, prices: Prices): void {
    this.#answers++;
    this.#input += usage.input;
    this.#output += usage.output;
    this.#cost += costOf(usage, prices);
  }
}

/** An amount with as many digits as say something. */
export const money = (amount: number): string => (amount === 0 ? "0" : amount >= 100 ? amount.toFixed(0) : amount.toPrecision(3));
