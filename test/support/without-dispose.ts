/** Script text: `Symbol` as in Safari, and in Node before 20.5.1. A stand-in, for the native one does not let the two be deleted. */
export const withoutDispose = `{
  const native = Symbol;
  const Poor = function (description) { return native(description); };
  for (const name of Reflect.ownKeys(native)) {
    if (["dispose", "asyncDispose", "name", "length", "prototype"].includes(name)) continue;
    Object.defineProperty(Poor, name, Object.getOwnPropertyDescriptor(native, name));
  }
  Object.defineProperty(Poor, "prototype", { value: native.prototype });
  globalThis.Symbol = Poor;
}`;
