"""Makes random LoRA adapters with PEFT and diffusers, and what the transformer gives with them; `npm run fuzz -- adapters` runs them on the engine.

    python adapters.py --out FOLDER --count 200 --seed 1
    python adapters.py --out FOLDER --seed 1 --index 17     one of them again

A sample is committed in test/pipelines/fixtures/adapters: seed 11, its folders are the indices.

FOLDER/<index>/ holds one or more adapters, as PeftModel.save_pretrained, CogVideoXPipeline.save_lora_weights or save_lora_adapter write them,
some with their configs edited afterwards; `sample.safetensors`, what PEFT or diffusers compute after loading them onto the original model; and
`case.json`: the reference case whose model and inputs were taken, the adapters' scales, `fields`, those of the drawn or edited config fields that an
engine of plain LoRA may refuse by name, and `error`, where the reference itself refuses what was saved.
"""

import argparse
import json
import random
import shutil
import warnings
from pathlib import Path

import torch
from diffusers import CogVideoXPipeline, CogVideoXTransformer3DModel
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from families.transformer import rotary_tables

CASES = Path(__file__).parent / "cases" / "CogVideoXTransformer3DModel"
BASES = ["2b_other_size", "5b_lora", "1_5", "1_5_i2v"]


class Base:
    """A committed case's model and inputs."""

    def __init__(self, name: str):
        self.name = name
        with safe_open(CASES / f"{name}.safetensors", "pt") as file:
            self.config = json.loads(file.metadata()["config"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        self.weights = {key.removeprefix("weight."): value for key, value in tensors.items() if key.startswith("weight.")}
        self.inputs = {key.removeprefix("input."): value for key, value in tensors.items() if key.startswith("input.")}

    def model(self) -> CogVideoXTransformer3DModel:
        model = CogVideoXTransformer3DModel.from_config(self.config)
        model.load_state_dict({key: value.clone() for key, value in self.weights.items()}, strict=False)
        return model.eval()

    def sample(self, model) -> torch.Tensor:
        frames, _, height, width = self.inputs["hidden_states"].shape[1:]
        return model(**self.inputs, image_rotary_emb=rotary_tables(model, frames, height, width)).sample


def linears(base: Base) -> list[str]:
    return [name for name, module in base.model().named_modules() if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))]


SUFFIXES = ["to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2", "ff.net.2", "attn1.to_q", "proj_out", "text_proj", "norm1.linear", "linear_1", "patch_embed.proj"]
REGEXES = [r".*\.attn1\.to_[qkv]", r".*(to_q|to_out\.0)", r"transformer_blocks\.\d+\.(attn1|ff).*(to_q|to_v|proj|net\.2)", r"(?!.*norm).*linear_\d", r"proj_out|.*\.(?P<x>to_k)", r"(?i:.*TO_Q)"]
PATTERNS = ["to_q", "to_k|to_v", r"attn1\.to_.*", r"^transformer_blocks\.0\.attn1\.to_q", r"transformer_blocks.0.attn1.to_v", r".*proj", r"to_[qk]", "out.0", "0", "net.2", r"(?<=to_)out\.0", r"(to)_(q|v)", r"[^.]*_out", r"blocks\.\d{1,2}\..*", "nothing", r"ff\.net\.(0|2)(\.proj)?", "o_q", r"t\w+\Z", r"(?:attn1|ff)\..+?"]


def numbers(draw: random.Random) -> float | int:
    return draw.choice([1, 2, 3, 4, 8, 16, 0.5, 1.25, -2, 0, 32, 7])


def patterns(draw: random.Random, value) -> dict:
    return {key: value() for key in draw.sample(PATTERNS, draw.randint(1, 4))}


# Fields that make more of an adapter than pairs on the original weights.
BEYOND = {
    "init_lora_weights": lambda draw: draw.choice(["pissa", "pissa_niter_4", "olora"]),
    "use_dora": lambda draw: True,
    "lora_bias": lambda draw: True,
    "bias": lambda draw: draw.choice(["all", "lora_only"]),
    "modules_to_save": lambda draw: [draw.choice(["proj_out", "norm_out.linear"])],
}


def draw_config(draw: random.Random) -> tuple[dict, list[str]]:
    options: dict = {"r": draw.randint(1, 5), "lora_alpha": numbers(draw)}
    options["target_modules"] = draw.choice([draw.sample(SUFFIXES, draw.randint(1, 5)) + ["to_q"], draw.choice(REGEXES), ["to_q", "to_k", "to_v", "to_out.0"], "all-linear"])
    options["use_rslora"] = draw.random() < 0.3
    options["init_lora_weights"] = draw.choice([True, True, False, "gaussian"])
    options["lora_dropout"] = draw.choice([0.0, 0.0, 0.25])
    if draw.random() < 0.1:
        options |= {"init_lora_weights": "orthogonal", "r": draw.choice([2, 4])}
    elif draw.random() < 0.4:
        options["rank_pattern"] = patterns(draw, lambda: draw.randint(1, 6))
    if draw.random() < 0.5:
        options["alpha_pattern"] = patterns(draw, lambda: numbers(draw))
    if draw.random() < 0.2:
        options["exclude_modules"] = draw.choice([["to_k", "net.2"], r".*\.(to_v|linear)", ["transformer_blocks.0.attn1.to_k"]])
    if draw.random() < 0.2 and isinstance(options["target_modules"], list):
        options |= {"layers_to_transform": draw.choice([0, [0], [0, 1], [1]]), "layers_pattern": draw.choice(["transformer_blocks", ["transformer_blocks"], "transformer_.*"])}
    if draw.random() < 0.15:
        options["fan_in_fan_out"] = True
    if draw.random() < 0.15:
        options["task_type"] = draw.choice(["FEATURE_EXTRACTION", None])
    fields = []
    if draw.random() < 0.2:
        field = draw.choice(list(BEYOND))
        options[field] = BEYOND[field](draw)
        fields.append(field)
        if field == "lora_bias":
            options["init_lora_weights"] = True
    return options, fields


def edit(draw: random.Random, config: dict) -> list[str]:
    """Changes a saved config as a hand or another version of PEFT might; returns fields that may be refused by name."""
    kind = draw.randrange(9)
    if kind == 0:
        config["lora_alpha"] = numbers(draw)
    elif kind == 1:
        config["use_rslora"] = not config["use_rslora"]
    elif kind == 2:
        config["alpha_pattern"] = patterns(draw, lambda: numbers(draw))
    elif kind == 3:
        config["r"] = draw.randint(1, 6)
        return ["r"]
    elif kind == 4:
        config["rank_pattern"] = patterns(draw, lambda: draw.randint(1, 6))
        return ["rank_pattern"]
    elif kind == 5:
        del config[draw.choice(["lora_alpha", "r", "rank_pattern", "alpha_pattern", "use_rslora", "init_lora_weights", "target_parameters", "peft_version", "bias"])]
        return ["rank_pattern"]
    elif kind == 6:
        config["target_modules"] = draw.choice([["to_q"], r".*to_[qv]", ["proj_out", "to_k"]])
        config["init_lora_weights"] = True  # modules that the file does not hold begin without a change
        config.pop("layers_to_transform", None)
        config.pop("layers_pattern", None)
        return ["target_modules", "exclude_modules"]
    elif kind == 7:
        # PEFT warns of a field that it does not know and goes on.
        config["use_sorcery"] = draw.choice([True, False, None, 3])
        return ["use_sorcery"]
    else:
        config["exclude_modules"] = draw.choice([["to_q"], r".*\.to_k"])
        return ["exclude_modules"]
    return []


def fill(draw: random.Random, model) -> None:
    """Trained values, near the init's: base and pair belong together where the init changed the base."""
    generator = torch.Generator().manual_seed(draw.randrange(2**31))
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name or (name.endswith(".bias") and parameter.requires_grad):
            parameter.data += torch.randn(parameter.shape, generator=generator) * 0.1


def save(draw: random.Random, base: Base, folder: Path) -> dict:
    """Makes one adapter in one of the formats; says which, and what may be refused."""
    form = draw.choice(["peft", "peft", "peft", "diffusers", "diffusers", "plain", "unprefixed"])
    options, fields = draw_config(draw)
    torch.manual_seed(draw.randrange(2**31))
    config = LoraConfig(**options)
    folder.mkdir(parents=True)
    if form == "peft":
        model = get_peft_model(base.model(), config)
        convert = "init_lora_weights" in fields and draw.random() < 0.5
        if convert:
            # PEFT's own way to make a plain LoRA of an adapter whose init changed the base's weights.
            initial = folder.with_name(f"{folder.name}-initial")
            model.save_pretrained(initial)
            fields = []
        fill(draw, model)
        model.save_pretrained(folder, **({"path_initial_model_for_weight_conversion": str(initial)} if convert else {}))
        if convert:
            shutil.rmtree(initial)
            return {"form": form, "fields": fields}
        if draw.random() < 0.4:
            path = folder / "adapter_config.json"
            saved = json.loads(path.read_text())
            fields += edit(draw, saved)
            path.write_text(json.dumps(saved, indent=2, sort_keys=draw.random() < 0.5))
        return {"form": form, "fields": fields}
    model = base.model()
    model.add_adapter(config)
    fill(draw, model)
    file = folder / "pytorch_lora_weights.safetensors"
    if form == "unprefixed":
        model.save_lora_adapter(folder)
    else:
        metadata = model.peft_config["default"].to_dict() if form == "diffusers" else None
        CogVideoXPipeline.save_lora_weights(folder, transformer_lora_layers=get_peft_model_state_dict(model), transformer_lora_adapter_metadata=metadata)
        if form == "diffusers" and draw.random() < 0.3:
            with safe_open(file, "pt") as opened:
                header = opened.metadata()
            saved = {key.removeprefix("transformer."): value for key, value in json.loads(header["lora_adapter_metadata"]).items()}
            fields += edit(draw, saved)
            header["lora_adapter_metadata"] = json.dumps({f"transformer.{key}": value for key, value in saved.items()})
            save_file(load_file(file), file, header)
    return {"form": form, "fields": fields}


def load(base: Base, folder: Path, form: str):
    """As its own library reads what was saved, onto the original model."""
    if form == "peft":
        return PeftModel.from_pretrained(base.model(), folder).eval()
    model = base.model()
    file = folder / "pytorch_lora_weights.safetensors"
    if form == "unprefixed":
        model.load_lora_adapter(str(folder), prefix=None, weight_name=file.name)
    else:
        state, metadata = CogVideoXPipeline.lora_state_dict(str(folder), weight_name=file.name, return_lora_metadata=True)
        CogVideoXPipeline.load_lora_into_transformer(state, model, metadata=metadata)
    return model.eval()


def merged(base: Base, folder: Path, form: str) -> dict[str, torch.Tensor]:
    """What the weights become, in float64."""
    model = load(base, folder, form)
    if form == "peft":
        state = model.merge_and_unload().state_dict()
    else:
        model.fuse_lora()
        model.unload_lora()
        state = model.state_dict()
    return {key: state[key].double() - value.double() for key, value in base.weights.items() if key in state}


def make(seed: int, index: int, out: Path) -> str:
    draw = random.Random(f"{seed} {index}")
    base = Base(draw.choice(BASES))
    folder = out / str(index)
    count = draw.choice([1, 1, 1, 2, 3])
    adapters = []
    while len(adapters) < count:
        place = folder / f"adapter-{len(adapters)}"
        try:
            made = save(draw, base, place)
        except Exception:  # whatever a drawn config says that PEFT does not take: another one is drawn
            shutil.rmtree(place, ignore_errors=True)
            continue
        (place / "README.md").unlink(missing_ok=True)
        adapters.append(made | {"path": place.name, "scale": draw.choice([1, 1, 0.7, -0.5, 0, 2])})
    case = {"base": base.name, "adapters": adapters}
    try:
        with torch.no_grad():
            if count == 1 and adapters[0]["scale"] == 1:
                model = load(base, folder / "adapter-0", adapters[0]["form"])
                # Some task types wrap the model in a forward pass of texts.
                sample = base.sample(model.base_model.model if isinstance(model, PeftModel) else model)
            else:
                model = base.model()
                changes = [merged(base, folder / adapter["path"], adapter["form"]) for adapter in adapters]
                state = {key: value.double() + sum(adapter["scale"] * change[key] for adapter, change in zip(adapters, changes)) for key, value in base.weights.items() if key in changes[0]}
                model.load_state_dict({key: value.float() for key, value in state.items()}, strict=False)
                sample = base.sample(model)
        if not sample.isfinite().all():  # such as an init that divides by an alpha of 0
            raise ValueError("the sample is not finite")
        save_file({"sample": sample.contiguous()}, folder / "sample.safetensors")
    except Exception as error:  # whatever the reference throws at what was saved and edited
        case["error"] = f"{type(error).__name__}: {str(error)[:300]}"
    (folder / "case.json").write_text(json.dumps(case, indent=1))
    return "error" if "error" in case else "made"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--index", type=int, nargs="+", help="these only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results = [make(arguments.seed, index, arguments.out) for index in (range(arguments.count) if arguments.index is None else arguments.index)]
    print(f"{results.count('made')} made, {results.count('error')} that the reference does not load")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
