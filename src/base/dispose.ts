/// <reference lib="esnext.disposable" preserve="true" />
/**
 * `Symbol.dispose` and `Symbol.asyncDispose` where the engine that runs this lacks them (Safari, Node before 20.5.1): imported
 * before everything else by the library (src/index.ts) and the launcher, which starts all other programs: classes name their
 * methods by these symbols at the moment they are defined.
 * They are registered symbols because a bundler's lowered `await using` looks for those where it finds no native ones.
 */
for (const name of ["dispose", "asyncDispose"] as const) {
  if (!Symbol[name]) Object.defineProperty(Symbol, name, { value: Symbol.for(`Symbol.${name}`) });
}
export {};
