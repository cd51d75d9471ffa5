// The DOM library of TypeScript before 6 knows no WebGPU.
/// <reference types="@webgpu/types" preserve="true" />
export * from "../../src/worker.ts";
