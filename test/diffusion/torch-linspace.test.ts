/** torch.linspace, to the bit. */
import { expect, test } from "vitest";
import { torchLinspace } from "../../src/diffusion/torch-linspace.ts";

test("values are rounded once, as torch's fused multiply-add does", () => {
  // torch.linspace(1, 23 * 10 / 11, 11, dtype=torch.float32)
  const want = [
    1, 2.9909090995788574, 4.981818199157715, 6.972726821899414, 8.96363639831543, 10.954545021057129, 12.945453643798828,
    14.936363220214844, 16.92727279663086, 18.918180465698242, 20.909090042114258,
  ];
  expect([...torchLinspace(1, (23 * 10) / 11, 11, Math.fround)]).toEqual(want);
  expect([...torchLinspace(3, 9, 1, Math.fround)]).toEqual([3]);
});
