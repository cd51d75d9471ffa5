/** What the server refuses, in the shape that OpenAI's clients read: `{ "error": { message, type, param, code } }`. */

/** The `type` of an error follows from its status. */
const TYPES: Readonly<Record<number, string>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  409: "conflict_error",
  429: "rate_limit_error",
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
    const { param = null, retryAfter } = this.options;
    const type = TYPES[this.status] ?? (this.status >= 500 ? "server_error" : "invalid_request_error");
    return Response.json(
      { error: { message: this.message, type, param, code: this.code } },
      {
        status: this.status,
        headers: {
          ...(retryAfter === undefined ? {} : { "retry-after": String(Math.max(1, Math.ceil(retryAfter))) }),
          ...(this.status === 401 ? { "www-authenticate": "Bearer" } : {}),
        },
      },
    );
  }
}

/** A field's value that cannot be. */
export const invalid = (message: string, param?: string): ApiError => new ApiError(400, "invalid_value", message, { param });

/** Of another's job the same is said as of none. */
export const noSuchVideo = (id: string): ApiError =>
  new ApiError(404, "video_not_found", `a video's id must be that of one of this key's jobs, got ${JSON.stringify(id.slice(0, 80))}`, {
    param: "video_id",
  });
