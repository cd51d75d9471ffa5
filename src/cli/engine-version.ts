/** The version that workers of a queue compare. */
import { kernelsVersion } from "../../build/kernels-version.ts";
import { packageInfo } from "./package-root.ts";

/** Of what a computation's bytes follow from beside its inputs: the package, and its kernels. */
export const engineVersion = (): string => `${packageInfo().version} ${kernelsVersion}`;
