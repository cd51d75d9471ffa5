/** The gradients of conv3d with respect to every operand, through strides, borders, caches and doubling. */
import { conv3dCases } from "../../src/check/sweep/cases/conv3d.ts";
import { gradientTests } from "../support/gradients.ts";

gradientTests(conv3dCases, { cases: ({ name }) => !/positions|3×3×3, 16 to 37|\((xw|x|w)\)|doubled in windows of rows/.test(name) });
