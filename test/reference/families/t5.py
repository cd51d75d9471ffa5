"""T5EncoderModel, version 1.1 (gated GELU, no biases), called as the pipelines call it: without an attention mask."""

import math

import torch
from transformers import T5Config, T5EncoderModel

from case import Case, Content
from draws import Draws
from hooks import tracing

MODULE = "T5EncoderModel"

CONFIG_NAMES = (
    "model_type",
    "vocab_size",
    "d_model",
    "d_kv",
    "d_ff",
    "num_layers",
    "num_heads",
    "relative_attention_num_buckets",
    "relative_attention_max_distance",
    "layer_norm_epsilon",
    "feed_forward_proj",
    "dense_act_fn",
    "is_gated_act",
    "pad_token_id",
    "eos_token_id",
)


def encode(config: dict, batch: int, length: int, padding: int = 0):
    """The last `padding` ids of the last row are the pad id, which takes part like any other."""

    def build(case: Case) -> Content:
        draws = Draws(case.id)
        settings = T5Config(feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False, **config)
        settings._attn_implementation = "eager"
        model = draws.fill(T5EncoderModel(settings))
        for block in model.encoder.block:  # T5 does not divide its logits by sqrt(d_kv)
            block.layer[0].SelfAttention.q.weight.div_(math.sqrt(settings.d_kv))
        input_ids = draws.integers(3, settings.vocab_size, batch, length)
        if padding:
            input_ids[-1, -padding:] = 0
            input_ids[-1, -padding - 1] = 1
        weights = model.state_dict()
        weights.pop("encoder.embed_tokens.weight")  # the same tensor as shared.weight; checkpoints hold it once
        with tracing(case, model) as trace:
            last_hidden_state = model(input_ids.to(torch.int64)).last_hidden_state
        return Content(
            config={name: getattr(settings, name) for name in CONFIG_NAMES},
            inputs={"input_ids": input_ids},
            weights=weights,
            outputs={"last_hidden_state": last_hidden_state},
            trace=trace,
        )

    return build


def tiny(d_model: int, heads: int, d_kv: int, d_ff: int, layers: int) -> dict:
    return {
        "vocab_size": 45,
        "d_model": d_model,
        "num_heads": heads,
        "d_kv": d_kv,
        "d_ff": d_ff,
        "num_layers": layers,
    }


XXL_LAYER = {"vocab_size": 128, "d_model": 4096, "num_heads": 64, "d_kv": 64, "d_ff": 10240, "num_layers": 1}

CASES = [
    Case(MODULE, "s29_padded", encode(tiny(24, 3, 8, 36, 2), batch=2, length=29, padding=11)),
    Case(MODULE, "s150", encode(tiny(20, 2, 8, 28, 1), batch=1, length=150)),  # beyond max_distance, 128
    Case(MODULE, "s226_d64", encode(tiny(16, 1, 64, 24, 1), batch=1, length=226, padding=200)),
    Case(MODULE, "traced", encode(tiny(12, 3, 4, 20, 2), batch=2, length=9, padding=3), trace=True),
    Case(MODULE, "xxl_layer", encode(XXL_LAYER, batch=1, length=226, padding=150), large=True),
]
