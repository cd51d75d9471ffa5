"""Gradients of modules that are trained: any outputs with cotangents, any inputs, weights and adapters with gradients."""

from case import Case
from families import ops, vae
from families.transformer import ATTENTION, FEED_FORWARD, IMAGE_PATCH_T, LEARNED, MODULE, PATCH_T, ROTARY, SINCOS, Adapter, forward, tiny
from gradients import differentiated


def vae_case(module: str, name: str, build, **more) -> Case:
    """Norms over few values are ill-conditioned: gradients that float32 itself misses are left out."""
    return Case(module, f"gradients_{name}", differentiated(build, steady=2e-5, **more))


LORA = [Adapter(scale=0.75, rank=4, layers=ATTENTION, alpha=2.0), Adapter(scale=-0.5, rank=3, layers=ATTENTION[:2] + FEED_FORWARD)]
# Of every kind of layer: a convolution, embeddings, modulations, what follows the blocks.
EVERYWHERE = [
    Adapter(
        scale=1.5,
        rank=2,
        layers=("patch_embed.proj", "patch_embed.text_proj", "time_embedding.linear_1", "time_embedding.linear_2"),
    ),
    Adapter(scale=1.0, rank=5, layers=("transformer_blocks.0.norm1.linear", "norm_out.linear", "proj_out", "patch_embed.proj")),
]
BIASLESS = {"attention_bias": False, "norm_elementwise_affine": False}

CASES = [
    Case(ops.SDPA, "gradients_d32_s13", differentiated(ops.attention(2, 2, 13, 32))),
    Case(ops.SDPA, "gradients_d40_s9_k22", differentiated(ops.attention(1, 3, 9, 40, keys=22), inputs=["key", "value"])),
    Case(ops.SDPA, "gradients_d6_s35_query", differentiated(ops.attention(2, 1, 35, 6), inputs=["query"])),
    Case(ops.SDPA, "gradients_d64_s19_sharp", differentiated(ops.attention(1, 1, 19, 64, logit_scale=8))),
    Case(ops.ROPE, "gradients_d32", differentiated(ops.rotary(2, 3, {"embed_dim": 32, **ops.PORTRAIT}))),
    Case(ops.ROPE, "gradients_d48_slice", differentiated(ops.rotary(1, 1, {"embed_dim": 48, **ops.SLICE}))),
    Case(ops.ZERO, "gradients_c36", differentiated(ops.layer_norm_zero(ops.norm_zero_config(12, 36), batch=2, video=11, text=5))),
    Case(
        ops.ZERO,
        "gradients_c27_gates",
        differentiated(
            ops.layer_norm_zero(ops.norm_zero_config(7, 27), batch=3, video=4, text=1), cotangents=["hidden_states", "gate", "enc_gate"]
        ),
    ),
    Case(
        ops.ZERO,
        "gradients_c20_plain",
        differentiated(
            ops.layer_norm_zero(ops.norm_zero_config(8, 20) | {"elementwise_affine": False, "bias": False}, batch=1, video=6, text=3),
            inputs=["encoder_hidden_states", "temb"],
            cotangents=["encoder_hidden_states"],
        ),
    ),
    Case(ops.BLOCK, "gradients_2x16", differentiated(ops.block(ops.block_config(2, 16, 5), batch=2, text=5, video=21))),
    Case(
        ops.BLOCK,
        "gradients_1x32_rotary",
        differentiated(ops.block(ops.block_config(1, 32, 12), batch=2, text=3, rotary={"embed_dim": 32, **ops.PORTRAIT})),
    ),
    Case(
        ops.BLOCK,
        "gradients_3x20_some",
        differentiated(
            ops.block(ops.block_config(3, 20, 7) | BIASLESS, batch=1, text=4, video=9),
            inputs=["temb"],
            weights=["attn1.to_k", "attn1.norm_q.bias", "norm2.linear", "ff.net.0"],
            cotangents=["encoder_hidden_states"],
        ),
    ),
    Case(
        ops.BLOCK,
        "gradients_1x64_inputs",
        differentiated(ops.block(ops.block_config(1, 64, 8), batch=1, text=7, rotary={"embed_dim": 64, **ops.SLICE}), weights=None),
    ),
    Case(MODULE, "gradients_2b", differentiated(forward(tiny(2, 16, 2, **SINCOS), (3, 4, 6, 10), 7, [999, 19]))),
    Case(MODULE, "gradients_5b", differentiated(forward(tiny(1, 32, 1, **ROTARY), (3, 4, 6, 14), 9, [479, 3]))),
    Case(MODULE, "gradients_5b_i2v", differentiated(forward(tiny(1, 16, 1, **LEARNED), (3, 8, 6, 10), 7, [959, 239]))),
    Case(
        MODULE,
        "gradients_1_5",
        differentiated(forward(tiny(1, 16, 1, **PATCH_T, attention_bias=False), (4, 4, 6, 10), 7, [999, 99])),
    ),
    Case(MODULE, "gradients_1_5_i2v", differentiated(forward(tiny(1, 16, 1, **IMAGE_PATCH_T), (2, 8, 14, 6), 4, [839, 179], ofs=2.0))),
    Case(
        MODULE,
        "gradients_plain_norms",
        differentiated(
            forward(tiny(3, 16, 1, **SINCOS, **BIASLESS, patch_bias=False), (2, 4, 4, 6), 7, [500]),
            inputs=["encoder_hidden_states"],
            weights=["patch_embed", "time_embedding", "norm_out", "proj_out", "transformer_blocks.0.attn1.norm_k"],
        ),
    ),
    Case(
        MODULE,
        "gradients_lora",
        differentiated(forward(tiny(1, 16, 1, **ROTARY), (1, 4, 6, 10), 5, [599, 7], adapters=LORA), inputs=[], weights=None),
    ),
    Case(
        MODULE,
        "gradients_lora_everywhere",
        differentiated(
            forward(tiny(1, 16, 1, **SINCOS), (2, 4, 4, 6), 7, [250], adapters=EVERYWHERE),
            inputs=["hidden_states"],
            weights=["transformer_blocks.0.norm1", "patch_embed.proj"],
        ),
    ),
    Case(ops.CONV, "gradients_k3_3to5", differentiated(ops.causal_conv(ops.conv_config(3, 5, 3), (2, 3, 5, 7, 6)))),
    Case(ops.CONV, "gradients_k3_cache", differentiated(ops.causal_conv(ops.conv_config(8, 12, 3), (1, 8, 4, 5, 7), cache_frames=2))),
    Case(
        ops.CONV, "gradients_k3_cache_1frame", differentiated(ops.causal_conv(ops.conv_config(4, 3, 3), (2, 4, 1, 6, 5), cache_frames=2))
    ),
    Case(ops.CONV, "gradients_k1", differentiated(ops.causal_conv(ops.conv_config(7, 10, 1), (1, 7, 3, 4, 5)))),
    Case(ops.CONV, "gradients_k3_stride122", differentiated(ops.causal_conv(ops.conv_config(4, 6, 3, stride=(1, 2, 2)), (1, 4, 3, 8, 7)))),
    Case(ops.SPATIAL, "gradients_odd_9f", differentiated(ops.spatial_norm(ops.spatial_config(12, 4, 3), (2, 9, 6, 4), (2, 3, 3, 2)))),
    Case(ops.SPATIAL, "gradients_even_4f", differentiated(ops.spatial_norm(ops.spatial_config(8, 5, 4), (2, 4, 3, 10), (2, 2, 3, 5)))),
    # An image; frames that are halved once and twice; batches of frames with what convolutions keep between them.
    vae_case(vae.ENCODE, "1f_channels", vae.encode(vae.WIDER, 1, 8, 40, batch=2)),
    vae_case(vae.ENCODE, "5f", vae.encode(vae.SMALL, 5, 16, 24)),
    vae_case(vae.ENCODE, "9f_deep", vae.encode(vae.DEEP, 9, 8, 24), weights=["encoder.conv_in", "encoder.down_blocks.0", "encoder.norm_out"]),
    vae_case(vae.ENCODE, "17f", vae.encode(vae.SMALL, 17, 8, 16)),
    vae_case(vae.ENCODE, "25f_logvar", vae.encode(vae.SMALL, 25, 8, 8), inputs=[], cotangents=["logvar"]),
    vae_case(vae.ENCODE, "14f_clamp", vae.encode(vae.SMALL, 14, 8, 24, bias=[0.1, -0.2, 0.3, 0.0, 25.0, -40.0, 0.5, -1.0])),
    vae_case(vae.DECODE, "1f_channels", vae.decode(vae.WIDER, 1, 3, 1, batch=2)),
    vae_case(vae.DECODE, "2f", vae.decode(vae.SMALL, 2, 1, 3)),
    vae_case(vae.DECODE, "3f_quarter", vae.decode(vae.QUARTER, 3, 2, 3)),
    vae_case(vae.DECODE, "5f_deep", vae.decode(vae.DEEP, 5, 2, 3), weights=["decoder.mid_block", "decoder.up_blocks.3", "decoder.conv_out"]),
    vae_case(vae.DECODE, "7f", vae.decode(vae.SMALL, 7, 1, 3), inputs=[]),
]
