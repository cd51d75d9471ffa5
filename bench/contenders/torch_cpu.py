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


@kind("matmul_nn")
def matmul_nn(case, t):
    return lambda: t["x"] @ t["w"]


@kind("matmul_tn")
def matmul_tn(case, t):
    return lambda: t["a"].T @ t["b"]


@kind("attention")
def attention(case, t):
    q, k, v = (t[name].unsqueeze(0) for name in "qkv")
    return lambda: F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1)


@kind("attention_gradient")
def attention_gradient(case, t):
    q, k, v = (t[name].unsqueeze(0).requires_grad_() for name in "qkv")
    with torch.enable_grad():
        y = F.scaled_dot_product_attention(q, k, v)[0].transpose(0, 1).flatten(1)
    return lambda: torch.autograd.grad(y, (k, q, v), t["dy"], retain_graph=True)[0][0]


@kind("conv3d")
def conv3d(case, t):
    if case["sizes"]["taps"] == 1:
        x, w = t["x"].transpose(1, 2).squeeze(0), t["w"].squeeze(2)
        return lambda: F.conv2d(x, w, t["b"], padding=1).transpose(0, 1).unsqueeze(0)
    return lambda: F.conv3d(torch.cat([t["x"][:, :, :1]] * 2 + [t["x"]], 2), t["w"], t["b"], padding=(0, 1, 1))


def causal(case, x, w):
    """The convolution, x and w being differentiated."""
    if case["sizes"]["taps"] == 1:
        return F.conv2d(x.transpose(1, 2).squeeze(0), w.squeeze(2), padding=1).transpose(0, 1).unsqueeze(0)
    return F.conv3d(torch.cat([x[:, :, :1]] * 2 + [x], 2), w, padding=(0, 1, 1))


@kind("conv3d_gradient_x")
def conv3d_gradient_x(case, t):
    x = torch.zeros(case["output"], requires_grad=True)
    with torch.enable_grad():
        y = causal(case, x, t["w"])
    return lambda: torch.autograd.grad(y, x, t["dy"], retain_graph=True)[0]


@kind("conv3d_gradient_w")
def conv3d_gradient_w(case, t):
    w = torch.zeros(case["output"], requires_grad=True)
    with torch.enable_grad():
        y = causal(case, t["x"], w)
    return lambda: torch.autograd.grad(y, w, t["dy"], retain_graph=True)[0]


@kind("adaln")
def adaln(case, t):
    return lambda: F.layer_norm(t["x"], t["x"].shape[-1:], t["weight"], t["bias"], 1e-5) * (1 + t["scale"]) + t["shift"]


@kind("group_norm")
def group_norm(case, t):
    return lambda: F.silu(F.group_norm(t["x"], case["sizes"]["groups"], t["weight"], t["bias"], 1e-6))


@kind("block")
def block(case, t):
    """CogVideoXBlock: text and video in one attention, their own shift, scale and gate from the timestep."""
    heads, width, text = (case["sizes"][name] for name in ("heads", "headWidth", "text"))
    p = "transformer_blocks.0"

    def linear(x, name):
        y = F.linear(x, t[f"{name}.weight"], t[f"{name}.bias"])
        a, b = (t.get(f"lora.{name.removeprefix(f'{p}.attn1.')}.{part}") for part in "AB")
        return y if a is None else y + F.linear(F.linear(x, a), b)

    def norm(x, name, eps):
        return F.layer_norm(x, x.shape[-1:], t[f"{name}.weight"], t[f"{name}.bias"], eps)

    def expert(x, name):
        """The modulated norm of the joined sequence, and its gates."""
        shift, scale, gate, text_shift, text_scale, text_gate = linear(t["conditioning"], f"{name}.linear").chunk(6, 1)
        normed = norm(x, f"{name}.norm", 1e-5)
        both = [normed[:text] * (1 + text_scale) + text_shift, normed[text:] * (1 + scale) + shift]
        return torch.cat(both), torch.cat([text_gate.expand(text, -1), gate.expand(len(x) - text, -1)])

    def split(x):
        return x.unflatten(1, (heads, width)).transpose(0, 1)

    def run():
        hidden = torch.cat([t["text"], t["video"]])
        x, gate = expert(hidden, f"{p}.norm1")
        q, k = (norm(split(linear(x, f"{p}.attn1.to_{n}")), f"{p}.attn1.norm_{n}", 1e-6) for n in "qk")
        mixed = F.scaled_dot_product_attention(q[None], k[None], split(linear(x, f"{p}.attn1.to_v"))[None])[0]
        hidden = hidden + gate * linear(mixed.transpose(0, 1).flatten(1), f"{p}.attn1.to_out.0")
        x, gate = expert(hidden, f"{p}.norm2")
        return hidden + gate * linear(F.gelu(linear(x, f"{p}.ff.net.0.proj"), approximate="tanh"), f"{p}.ff.net.2")

    return run


@kind("block_step")
def block_step(case, t):
    """Forward, gradients, clipping and AdamW (at a rate of 0) of a block; compared is the gradient of its input."""
    prefix = "lora." if case["sizes"]["trained"] == "lora" else "transformer_blocks.0."
    own = [value.requires_grad_() for name, value in t.items() if name.startswith(prefix)]
    for name in ("text", "video"):
        t[name].requires_grad_()
    optimizer = torch.optim.AdamW(own, lr=0.0)
    forward = block(case, t)

    def run():
        optimizer.zero_grad()
        for name in ("text", "video"):
            t[name].grad = None
        with torch.enable_grad():
            forward().backward(t["dy"])
        torch.nn.utils.clip_grad_norm_(own, 1.0)
        optimizer.step()
        return torch.cat([t["text"].grad, t["video"].grad])

    return run


@kind("t5_block")
def t5_block(case, t):
    """A block of T5 v1.1's encoder; the bias by distance is given."""
    heads, width, tokens = (case["sizes"][name] for name in ("heads", "headWidth", "tokens"))
    places = torch.arange(tokens)
    bias = t["bias"][:, places[None, :] - places[:, None] + tokens - 1]
    attend, feed = "encoder.block.0.layer.0", "encoder.block.0.layer.1"

    def linear(x, name):
        return F.linear(x, t[f"{name}.weight"])

    def norm(x, name):
        return t[f"{name}.weight"] * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

    def run():
        x = norm(t["hidden"][0], f"{attend}.layer_norm")
        q, k, v = (linear(x, f"{attend}.SelfAttention.{n}").unflatten(1, (heads, width)).transpose(0, 1) for n in "qkv")
        mixed = torch.softmax(q @ k.transpose(1, 2) + bias, -1) @ v
        hidden = t["hidden"][0] + linear(mixed.transpose(0, 1).flatten(1), f"{attend}.SelfAttention.o")
        z = norm(hidden, f"{feed}.layer_norm")
        gated = F.gelu(linear(z, f"{feed}.DenseReluDense.wi_0"), approximate="tanh") * linear(z, f"{feed}.DenseReluDense.wi_1")
        return (hidden + linear(gated, f"{feed}.DenseReluDense.wo"))[None]

    return run


@kind("vae_decoder")
def vae_decoder(case, t):
    """AutoencoderKLCogVideoX.decoder at the published widths, for an even number of latent frames."""
    z = t["z"]

    def conv(x, name):
        w = t[f"{name}.weight"]
        if w.shape[2] == 1:
            return F.conv3d(x, w, t[f"{name}.bias"])
        return F.conv3d(torch.cat([x[:, :, :1]] * 2 + [x], 2), w, t[f"{name}.bias"], padding=(0, 1, 1))

    def norm(x, name):
        zq = F.interpolate(z, size=x.shape[2:])
        normed = F.group_norm(x, 32, t[f"{name}.norm_layer.weight"], t[f"{name}.norm_layer.bias"], 1e-6)
        return F.silu(normed * conv(zq, f"{name}.conv_y.conv") + conv(zq, f"{name}.conv_b.conv"))

    def resnet(x, name):
        h = conv(norm(x, f"{name}.norm1"), f"{name}.conv1.conv")
        h = conv(norm(h, f"{name}.norm2"), f"{name}.conv2.conv")
        return h + (conv(x, f"{name}.conv_shortcut") if f"{name}.conv_shortcut.weight" in t else x)

    def upsample(x, name, frames):
        x = F.interpolate(x, scale_factor=(2.0 if frames else 1.0, 2.0, 2.0))
        y = F.conv2d(x[0].transpose(0, 1), t[f"{name}.weight"], t[f"{name}.bias"], padding=1)
        return y.transpose(0, 1)[None]

    def run():
        h = conv(z, "decoder.conv_in.conv")
        for j in range(2):
            h = resnet(h, f"decoder.mid_block.resnets.{j}")
        for i in range(4):
            for j in range(4):
                h = resnet(h, f"decoder.up_blocks.{i}.resnets.{j}")
            if i < 3:
                h = upsample(h, f"decoder.up_blocks.{i}.upsamplers.0.conv", i < 2)
        return conv(norm(h, "decoder.norm_out"), "decoder.conv_out.conv")

    return run


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
