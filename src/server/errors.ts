/** What the server refuses, in the shape that OpenAI's clients read: `{ "error": { message, type, param, code } }`. */

/** The `type` of an error follows from its status. */
const TYPES: Readonly<Record<number, string>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  409: "conflict_error",
  429: "rate_limit_error",
};

/** The `title` of a problem. */
const TITLES: Readonly<Record<number, string>> = {
  401: "Unauthenticated",
  403: "Forbidden",
  404: "Not found",
  410: "Gone",
  413: "Request too large",
  422: "Input validation failed",
  429: "Too many requests",
  501: "Not implemented",
};

export interface ApiErrorOptions {
  /** The field that is wrong. */
  readonly param?: string | undefined;
  /** Seconds after which to ask again. */
  readonly retryAfter?: number;
}

/** An answer that is no success. `message` says the rule, the value, and what can be done. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly options: ApiErrorOptions = {},
  ) {
    super(message);
  }

  response(): Response {
    const { param = null } = this.options;
    const type = TYPES[this.status] ?? (this.status >= 500 ? "server_error" : "invalid_request_error");
    return Response.json(
      { error: { message: this.message, type, param, code: this.code } },
      { status: this.status, headers: this.#headers() },
    );
  }

  /** The same as Replicate's clients read it: `{ title, detail, status }`. A field's wrong value is 422 there. */
  problem(): Response {
    const status = this.status === 400 ? 422 : this.status;
    const { param } = this.options;
    const fields =
      param === undefined || status !== 422 ? {} : { invalid_fields: [{ type: this.code, field: param, description: this.message }] };
    return Response.json(
      { title: TITLES[status] ?? (status >= 500 ? "Internal server error" : "Request refused"), detail: this.message, status, ...fields },
      { status, headers: { ...this.#headers(), "content-type": "application/problem+json" } },
    );
  }

  #headers(): Record<string, string> {
    const { retryAfter } = this.options;
    return {
      ...(retryAfter === undefined ? {} : { "retry-after": String(Math.max(1, Math.ceil(retryAfter))) }),
      ...(this.status === 401 ? { "www-authenticate": "Bearer" } : {}),
    };
  }
}

/** A field's value that cannot be. */
export const invalid = (message: string, param?: string): ApiError => new ApiError(400, "invalid_value", message, { param });

/** Of another's job the same is said as of none. */
export const noSuchVideo = (id: string): ApiError =>
  new ApiError(404, "video_not_found", `a video's id must be that of one of this key's jobs, got ${JSON.stringify(id.slice(0, 80))}`, {
    param: "video_id",
  });
