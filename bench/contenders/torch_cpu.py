"""PyTorch on the CPU, a distant mark: what the machine's native code does with the same inputs. Speaks contenders/protocol.ts."""
import json
import math
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

KINDS = {}
opened = {}


def kind(name):
    def register(build):
        KINDS[name] = build
        return build
    return register


def draw(spec):
    """mulberry32, as cases/case.ts draws it: the state after i steps is seed + i · 0x6d2b79f5."""
    count = math.prod(spec["shape"])
    out = np.empty(count, np.float32)
    for start in range(0, count, 1 << 22):
        i = np.arange(start + 1, min(count, start + (1 << 22)) + 1, dtype=np.uint64)
        state = ((np.uint64(spec["seed"]) + i * np.uint64(0x6D2B79F5)) & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        t = (state ^ (state >> 15)) * (state | np.uint32(1))
        t = (t + (t ^ (t >> 7)) * (t | np.uint32(61))) ^ t
        t = t ^ (t >> 14)
        value = t.astype(np.float64) / 2147483648 - 1
        out[start:start + len(i)] = spec.get("scale", 1) * value + spec.get("offset", 0)
    return torch.from_numpy(out).reshape(spec["shape"])


@kind("matmul")
def matmul(case, t):
    return lambda: F.linear(t["x"], t["w"])


@kind("attention")
def attention(case, t):
    q, k, v = (t[name].unsqueeze(0) for name in "qkv")
    return lambda: F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1)


@kind("conv3d")
def conv3d(case, t):
    if case["sizes"]["taps"] == 1:
        x, w = t["x"].transpose(1, 2).squeeze(0), t["w"].squeeze(2)
        return lambda: F.conv2d(x, w, t["b"], padding=1).transpose(0, 1).unsqueeze(0)
    return lambda: F.conv3d(torch.cat([t["x"][:, :, :1]] * 2 + [t["x"]], 2), t["w"], t["b"], padding=(0, 1, 1))


@kind("adaln")
def adaln(case, t):
    return lambda: F.layer_norm(t["x"], t["x"].shape[-1:], t["weight"], t["bias"], 1e-5) * (1 + t["scale"]) + t["shift"]


@kind("group_norm")
def group_norm(case, t):
    return lambda: F.silu(F.group_norm(t["x"], case["sizes"]["groups"], t["weight"], t["bias"], 1e-6))


def answer(request):
    if request["do"] == "open":
        torch.set_grad_enabled(False)
        threads = torch.get_num_threads()
        return {"name": "PyTorch CPU", "version": torch.__version__, "adapter": f"the CPU, {threads} threads", "kinds": list(KINDS), "note": "native code, no WebGPU: a distant mark"}
    if request["do"] == "prepare":
        case = request["case"]
        tensors = {name: draw(spec) for part in ("inputs", "weights") for name, spec in case[part].items()}
        opened["run"] = KINDS[case["kind"]](case, tensors)
        opened["run"]().contiguous().numpy().tofile(request["file"])
        return {}
    if request["do"] == "time":
        ms = []
        for _ in range(request["runs"]):
            start = time.perf_counter()
            opened["run"]()
            ms.append((time.perf_counter() - start) * 1e3)
        return {"ms": ms}
    opened.clear()
    return {}


for line in sys.stdin:
    try:
        reply = answer(json.loads(line))
    except Exception as error:  # told to the bench, which reports it with the case
        reply = {"error": f"{type(error).__name__}: {error}"}
    print("@@" + json.dumps(reply), flush=True)
os._exit(0)
