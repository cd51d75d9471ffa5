/**
 * Waits until none of the promises is under way any more, and rejects then with the first reason in their order, if there is one. What they
 * write to may be freed after it, which after `Promise.all` it may not.
 */
export async function allOver(promises: Iterable<Promise<unknown>>): Promise<void> {
  const failed = (await Promise.allSettled(promises)).find((one) => one.status === "rejected");
  if (failed) throw failed.reason;
}
