"""Weights as files store them: ggml's blocks by PyPI `gguf`, bfloat16 and float8 by torch; every value to the bit."""

import numpy as np
import torch

from case import Case, Content
from draws import Draws

MODULE = "dequantize"

# Bytes at which a block has an f16; the others may be anything.
HALVES = {"Q8_0": (0,), "Q5_0": (0,), "Q4_0": (0,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}


def blocks(kind: str, out: int, inner: int):
    """Random bytes, with scales of every finite f16: ordinary ones, subnormal ones, zeros of both signs."""

    def build(case: Case) -> Content:
        import gguf  # here, so that the other families need no gguf

        number = getattr(gguf.GGMLQuantizationType, kind)
        values, size = gguf.GGML_QUANT_SIZES[number]
        rng = Draws(case.id).rng
        raw = rng.integers(0, 256, (out, inner // values, size), dtype=np.uint8)
        for at in HALVES[kind]:
            bits = rng.integers(0, 0x7C00, raw.shape[:2], dtype=np.uint16)
            bits[:, ::3] = rng.integers(0, 0x0500, bits[:, ::3].shape, dtype=np.uint16)
            bits |= rng.integers(0, 2, raw.shape[:2], dtype=np.uint16) << 15
            raw[..., at : at + 2] = bits[..., None].view(np.uint8)
        raw = raw.reshape(out, -1)
        sample = gguf.dequantize(raw, number).astype(np.float32).reshape(out, inner)
        return Content(
            options={"shape": [out, inner], "type": kind},
            inputs={"raw": torch.from_numpy(raw)},
            outputs={"sample": torch.from_numpy(sample)},
        )

    return build


def floats(kind: str, out: int, inner: int, scales: tuple[int, ...] | None = None):
    """Every code there is, NaN and infinities among them, in turn from a random one on; `scales` is the shape of the scale."""

    def build(case: Case) -> Content:
        rng = Draws(case.id).rng
        dtype, bits = (torch.bfloat16, np.uint16) if kind == "BF16" else (torch.float8_e4m3fn, np.uint8)
        codes = rng.permutation(2 ** (8 * np.dtype(bits).itemsize)).astype(bits)
        raw = torch.from_numpy(np.resize(codes, (out, inner)).view(np.uint8))
        sample = raw.view(dtype).float().reshape(out, inner)
        inputs = {"raw": raw}
        if scales is not None:
            inputs["scale"] = torch.from_numpy(np.asarray(rng.random(scales, dtype=np.float32) / np.float32(64)))
            sample = sample * inputs["scale"].reshape(-1, 1)
        return Content(options={"shape": [out, inner], "type": kind}, inputs=inputs, outputs={"sample": sample})

    return build


CASES = [
    Case(MODULE, "q8_0", blocks("Q8_0", 19, 96)),
    Case(MODULE, "q8_0_row", blocks("Q8_0", 1, 32)),
    Case(MODULE, "q5_0", blocks("Q5_0", 19, 96)),
    Case(MODULE, "q4_0", blocks("Q4_0", 19, 96)),
    Case(MODULE, "q4_0_odd_blocks", blocks("Q4_0", 5, 32)),
    Case(MODULE, "q4_k", blocks("Q4_K", 5, 512)),
    Case(MODULE, "q5_k", blocks("Q5_K", 5, 512)),
    Case(MODULE, "q6_k", blocks("Q6_K", 5, 512)),
    Case(MODULE, "q6_k_odd_blocks", blocks("Q6_K", 3, 256)),
    Case(MODULE, "e4m3", floats("F8_E4M3", 17, 31)),
    Case(MODULE, "e4m3_scaled", floats("F8_E4M3_scaled", 17, 31, scales=())),
    Case(MODULE, "e4m3_scaled_rows", floats("F8_E4M3_scaled", 17, 31, scales=(17,))),
    Case(MODULE, "e4m3_scaled_column", floats("F8_E4M3_scaled", 16, 32, scales=(16, 1))),
    Case(MODULE, "bf16", floats("BF16", 67, 251)),
]
