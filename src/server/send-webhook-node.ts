/** One webhook, signed by Standard Webhooks, to an address on the public network. */
import { lookup } from "node:dns/promises";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { BlockList, isIP } from "node:net";
import { Webhook } from "standardwebhooks";
import { invalid } from "./errors.ts";

const ANSWER_MS = 10_000;

const PRIVATE = new BlockList();
for (const [net, bits] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 3],
] as const)
  PRIVATE.addSubnet(net, bits, "ipv4");

/** Is it an address of this machine, of a network that is not the public one, or of none? Of IPv6 only what is given out is public. */
export function isPrivate(address: string): boolean {
  if (isIP(address) === 4) return PRIVATE.check(address, "ipv4");
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped) return isPrivate(mapped);
  // 2000::/3, without what carries an IPv4 address (6to4, Teredo) or documents.
  return !/^[23]/.test(address) || !/^[23][0-9a-f]{3}:/i.test(address) || /^(2002|2001:0?:|2001:0*db8|2001::)/i.test(address);
}

/** Throws where a webhook's address cannot be one. */
export function checkWebhook(address: string, allowPrivate: boolean): void {
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password)
    throw invalid(`a webhook must be an http or https address without a password, got ${JSON.stringify(address.slice(0, 200))}`, "webhook");
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (!allowPrivate && (isIP(host) ? isPrivate(host) : /(^|\.)(localhost|internal|local)$/i.test(host)))
    throw invalid(
      `a webhook must be on the public network, got ${JSON.stringify(host.slice(0, 200))}; ` +
        "start the server with --private-webhooks to allow others",
      "webhook",
    );
}

interface SentWebhook {
  /** Is the same where the same is told again. */
  readonly id: string;
  readonly address: string;
  /** `whsec_…` */
  readonly secret: string;
  readonly body: string;
  /** May addresses of this machine and its networks be called? */
  readonly allowPrivate: boolean;
  readonly signal: AbortSignal;
}

/** @returns the status that was answered */
export async function sendWebhook({ id, address, secret, body, allowPrivate, signal: ended }: SentWebhook): Promise<number> {
  const url = new URL(address);
  const name = url.hostname.replace(/^\[|\]$/g, "");
  // The address that was judged is the one that is called: a name may mean another one the next time.
  const [found] = isIP(name) ? [{ address: name, family: isIP(name) }] : await lookup(name, { all: true, verbatim: true });
  if (!found) throw new Error(`${name} has no address`);
  if (!allowPrivate && isPrivate(found.address)) throw new Error(`${name} is ${found.address}, which is not on the public network`);
  const at = new Date();
  const headers = {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    "user-agent": "cogwheel",
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
    "webhook-signature": new Webhook(secret).sign(id, at, body),
  };
  const signal = AbortSignal.any([ended, AbortSignal.timeout(ANSWER_MS)]);
  return await new Promise<number>((resolve, reject) => {
    const send = url.protocol === "https:" ? httpsRequest : httpRequest;
    const sent = send(
      url,
      {
        method: "POST",
        headers,
        signal,
        agent: false,
        lookup: (_host, options, done) => (options.all ? done(null, [found]) : done(null, found.address, found.family)),
      },
      (response) => {
        // What is answered does not matter, only that it was; a redirection is not followed.
        response.destroy();
        resolve(response.statusCode ?? 0);
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
}
