/** The gradients of matmul through every epilogue, with every operand trained; and dX of weights, however they come to the device. */
import { matmulCases } from "../../src/check/sweep/cases/matmul.ts";
import { gradientTests } from "../support/gradients.ts";

/** One size for each epilogue, then what has no whole panels, few rows, heads of several widths and windows. */
const wanted = /^(1×4×4|2×68×48 bias activation|67×68×48 .*xwy?\)$|67×68×48 .*silu|.*, w |5×60×48|67×140×48|67×96×48|19×16×144)/;

// What rounds x to integers has no slope.
gradientTests(matmulCases, { cases: ({ name }) => wanted.test(name) && !name.includes("q8_0") });
