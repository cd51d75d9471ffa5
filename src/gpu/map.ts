/**
 * Mapping buffers, and letting them go. Dawn's binding for Node (0.6.2) writes into freed memory when a buffer is destroyed or collected
 * while its mapping is under way, and the process dies of it at once, later or not at all. So such a buffer is kept, and destroyed when the
 * mapping is over: a turn of the event loop later, or when the device is lost.
 */
const underWay = new Map<GPUBuffer, Promise<void>>();

/** `buffer.mapAsync`. The buffer may be let go before the promise settles, but only `destroyBuffer` may destroy it. */
export function mapBuffer(buffer: GPUBuffer, mode: GPUMapModeFlags, offset?: number, size?: number): Promise<void> {
  const mapped = buffer.mapAsync(mode, offset, size).finally(() => underWay.delete(buffer));
  underWay.set(buffer, mapped);
  return mapped;
}

/** Destroys a buffer, at once or as soon as no mapping of it is under way. */
export function destroyBuffer(buffer: GPUBuffer): void {
  const destroy = (): void => buffer.destroy();
  const mapped = underWay.get(buffer);
  if (mapped) mapped.then(destroy, destroy);
  else destroy();
}
