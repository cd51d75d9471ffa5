/**
 * Lets whoever has an address read one video without a key: Replicate's clients fetch what came out, and follow how it comes, without
 * showing theirs. The token is an HMAC of the video's id; it ends with the video, or when the key is taken back.
 */
import { hex } from "../base/hex.ts";

const encoder = new TextEncoder();
const HMAC = { name: "HMAC", hash: "SHA-256" } as const;

const keyOf = (secret: string): Promise<CryptoKey> =>
  crypto.subtle.importKey("raw", encoder.encode(secret), HMAC, false, ["sign", "verify"]);
const signed = (id: string): Uint8Array<ArrayBuffer> => encoder.encode(`read ${id}`);

/** Makes tokens of the key that this is the secret of: 64 hexadecimal digits. Of no secret there are none. */
export async function readTokens(secret: string | undefined): Promise<(id: string) => Promise<string | undefined>> {
  if (!secret) return async () => undefined;
  const key = await keyOf(secret);
  return async (id) => hex(new Uint8Array(await crypto.subtle.sign("HMAC", key, signed(id))));
}

/** Compares in a time that says nothing. */
export async function isReadToken(secret: string, id: string, token: string): Promise<boolean> {
  if (!/^[0-9a-f]{64}$/.test(token)) return false;
  const bytes = Uint8Array.from(token.match(/../g)!, (digits) => Number.parseInt(digits, 16));
  return await crypto.subtle.verify("HMAC", await keyOf(secret), bytes, signed(id));
}
