/** What a refusal says about the parameters that a server does not know, and how it is asked without them. */
import type { Refusal } from "./faults.ts";
import { FORMS, type Dialect } from "./message.ts";

/** Another request that was under way changed the dialect: nothing to tell. */
export const AGAIN = "as another request found out";

/** Parameters that a request does without where a server refuses them. */
const OPTIONAL = ["temperature", "seed"] as const;

/**
 * Changes the dialect after a refusal, so that the request may be sent again.
 * @param sent the dialect that the refused request was written in, as JSON
 * @returns what was changed, in words; undefined where nothing can be
 */
export function adapted(
  dialect: Dialect,
  { status, words }: Refusal,
  body: Readonly<Record<string, unknown>>,
  sent: string,
): string | undefined {
  if (status !== 400 && status !== 422) return undefined;
  if (written(dialect) !== sent) return AGAIN;
  if (dialect.tokensName === "max_tokens" && /max_completion_tokens/.test(words)) {
    dialect.tokensName = "max_completion_tokens";
    return "answers are limited by max_completion_tokens";
  }
  const refused = OPTIONAL.find((name) => name in body && new RegExp(`\\b${name}\\b`).test(words));
  if (refused) {
    dialect.without.add(refused);
    return `it takes no ${refused}, which is left out`;
  }
  // Whatever the words are, a server that knows no schema says no to the first request with one.
  if (!("response_format" in body) || (dialect.proven && !/response_format|schema|grammar/i.test(words))) return undefined;
  const before = dialect.form;
  dialect.form = FORMS[FORMS.indexOf(before) + 1]!;
  dialect.proven = false;
  return `it takes no ${before}; JSON is asked for by ${dialect.form}`;
}

/**
 * Changes the dialect after an answer that holds no object at all, though it was asked for by a parameter and not cut off: a server that
 * knows the parameter lets no such answer pass, so this one ignores it, and its model never heard of the schema.
 * @param sent the dialect that the request was written in, as JSON
 * @returns what was changed, in words; undefined where the schema was told in words already
 */
export function ignored(dialect: Dialect, sent: string): string | undefined {
  if (written(dialect) !== sent) return AGAIN;
  if (dialect.form === "words") return undefined;
  const before = dialect.form;
  dialect.form = "words";
  dialect.proven = false;
  return `it ignores ${before}; JSON is asked for in words`;
}

/** A dialect as JSON, to see whether it changed. */
export const written = (dialect: Dialect): string => JSON.stringify([dialect.form, dialect.tokensName, [...dialect.without]]);
