"""Models of random weights as transformers.js reads them, for captions without a server: python tiny_onnx.py FOLDER.

FOLDER/smolvlm      takes texts and pictures in turn, answers texts
FOLDER/captioner    takes a picture, answers a text (vision-encoder-decoder)
FOLDER/florence     takes a picture and a task, answers a text (Florence-2)

Only the layout, the names of inputs and outputs and the tokenizer are SmolVLM's and ViT-GPT2's: layers are as plain as can be."""
import json
import sys
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from torch import nn
from transformers import PreTrainedTokenizerFast

WIDTH, HEADS, LAYERS, SIDE = 32, 2, 2, 64
HEAD = WIDTH // HEADS
# Tokens of a picture.
PICTURE = 4
TEXT = "A red circle moves to the left over a black background while the camera stands still."
root = Path(sys.argv[1])
torch.manual_seed(0)


def attention(q, k, v, past_length):
    """Causal, behind what the cache has."""
    rows, columns = q.shape[2], k.shape[2]
    seen = torch.arange(columns)[None, :] <= torch.arange(rows)[:, None] + past_length
    scores = q @ k.transpose(2, 3) / HEAD**0.5
    return torch.softmax(torch.where(seen, scores, torch.tensor(-1e9)), -1) @ v


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down, self.norm = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x, key, value):
        q, k, v = (t.reshape(x.shape[0], -1, HEADS, HEAD).transpose(1, 2) for t in self.qkv(self.norm(x)).chunk(3, -1))
        past = key.shape[2]
        key, value = torch.cat([key, k], 2), torch.cat([value, v], 2)
        x = x + self.out(attention(q, key, value, past).transpose(1, 2).reshape(x.shape[0], -1, WIDTH))
        return x + self.down(torch.relu(self.up(x))), key, value


class Decoder(nn.Module):
    """With a cache; of GPT-2's kind where it embeds tokens itself and looks at a picture."""

    def __init__(self, words, embeds):
        super().__init__()
        self.embed = nn.Embedding(words, WIDTH) if embeds else None
        self.layers, self.head = nn.ModuleList(Layer() for _ in range(LAYERS)), nn.Linear(WIDTH, words)
        self.place = nn.Linear(1, WIDTH)

    def forward(self, x, second, *cache):
        if self.embed:
            x = self.embed(x) + second.mean(1, keepdim=True)
            places = torch.arange(x.shape[1])[None, :] + cache[0].shape[2]
        else:
            places = second.long().cumsum(-1)[:, -x.shape[1] :]
        x = x + self.place(torch.sin(places[..., None].float()))
        present = []
        for i, layer in enumerate(self.layers):
            x, key, value = layer(x, cache[2 * i], cache[2 * i + 1])
            present += [key, value]
        return (self.head(x), *present)


class Hearing(nn.Module):
    """Florence-2's decoder: embeds are given, and what the encoder made."""

    def __init__(self, words):
        super().__init__()
        self.decoder = Decoder(words, embeds=False)

    def forward(self, x, encoded, encoded_mask, *cache):
        heard = (encoded * encoded_mask[..., None]).mean(1, keepdim=True)
        places = torch.ones(1, 1, dtype=torch.long).expand(x.shape[0], x.shape[1] + cache[0].shape[2])
        return self.decoder(x + heard, places, *cache)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(WIDTH, WIDTH)

    def forward(self, x, mask):
        return self.mix(x) * mask[..., None]


class Eyes(nn.Module):
    """Pictures [N, 3, SIDE, SIDE] to PICTURE vectors each."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, SIDE // 2, SIDE // 2)

    def forward(self, pixel_values, pixel_attention_mask=None):
        pictures = pixel_values.reshape(-1, 3, SIDE, SIDE)
        # The mask is an input of the published models: it must not be left out of the graph.
        kept = 1 if pixel_attention_mask is None else pixel_attention_mask.float().mean()
        return self.patches(pictures).flatten(2).transpose(1, 2) * kept


def export(module, args, path, inputs, outputs, axes):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        module.eval(), args, str(path), input_names=inputs, output_names=outputs, dynamic_axes=axes, opset_version=17, dynamo=False
    )


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))


def tokenizer_for(folder, specials, template=None):
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([TEXT], vocab_size=300, special_tokens=specials)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    tokenizer.add_special_tokens({"additional_special_tokens": specials[3:]} if len(specials) > 3 else {})
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "PreTrainedTokenizer"} | ({"chat_template": template} if template else {})
    write(folder, tokenizer_config=config)
    return len(tokenizer)


NORMAL = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}
names = [f"{i}.{part}" for i in range(LAYERS) for part in ("key", "value")]
empty = [torch.zeros(1, HEADS, 3, HEAD) for _ in names]
past, present = [f"past_key_values.{name}" for name in names], [f"present.{name}" for name in names]
growing = {name: {0: "batch", 2: "length"} for name in past + present}

folder = root / "smolvlm"
folder.mkdir(parents=True, exist_ok=True)
words = tokenizer_for(
    folder,
    ["<pad>", "<s>", "</s>", "<image>", "<fake_token_around_image>", "<global-img>"],
    "{% for m in messages %}{{ m['role'] + ': ' }}{% for part in m['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{{ '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}",
)
text = {"model_type": "llama", "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS}
write(
    folder,
    config={
        "model_type": "smolvlm",
        "architectures": ["SmolVLMForConditionalGeneration"],
        "image_token_id": 3,
        "text_config": text | {"head_dim": HEAD, "vocab_size": words},
        "vision_config": {"model_type": "smolvlm_vision"},
    },
    generation_config={"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
    processor_config={"processor_class": "SmolVLMProcessor", "image_seq_len": PICTURE},
    preprocessor_config=NORMAL
    | {
        "image_processor_type": "SmolVLMImageProcessor",
        "processor_class": "SmolVLMProcessor",
        "do_image_splitting": False,
        "max_image_size": {"longest_edge": SIDE},
        "size": {"longest_edge": SIDE},
        "do_resize": True,
    },
)
pixels = torch.zeros(1, 2, 3, SIDE, SIDE)
export(
    Eyes(),
    (pixels, torch.ones(1, 2, SIDE, SIDE, dtype=torch.bool)),
    folder / "onnx/vision_encoder.onnx",
    ["pixel_values", "pixel_attention_mask"],
    ["image_features"],
    {"pixel_values": {1: "n"}, "pixel_attention_mask": {1: "n"}, "image_features": {0: "n"}},
)
export(
    nn.Embedding(words, WIDTH),
    (torch.zeros(1, 5, dtype=torch.long),),
    folder / "onnx/embed_tokens.onnx",
    ["input_ids"],
    ["inputs_embeds"],
    {"input_ids": {0: "batch", 1: "length"}, "inputs_embeds": {0: "batch", 1: "length"}},
)
export(
    Decoder(words, embeds=False),
    (torch.zeros(1, 5, WIDTH), torch.ones(1, 8, dtype=torch.long), *empty),
    folder / "onnx/decoder_model_merged.onnx",
    ["inputs_embeds", "attention_mask", *past],
    ["logits", *present],
    {"inputs_embeds": {0: "batch", 1: "length"}, "attention_mask": {0: "batch", 1: "total"}, "logits": {0: "batch", 1: "length"}} | growing,
)

folder = root / "captioner"
folder.mkdir(parents=True, exist_ok=True)
words = tokenizer_for(folder, ["<pad>", "<s>", "</s>"])
gpt2 = {"model_type": "gpt2", "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "vocab_size": words}
write(
    folder,
    config={
        "model_type": "vision-encoder-decoder",
        "architectures": ["VisionEncoderDecoderModel"],
        "is_encoder_decoder": True,
        "decoder_start_token_id": 1,
        "encoder": {"model_type": "vit", "hidden_size": WIDTH},
        "decoder": gpt2,
    },
    generation_config={"decoder_start_token_id": 1, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
    preprocessor_config=NORMAL | {"image_processor_type": "ViTImageProcessor", "size": {"height": SIDE, "width": SIDE}, "do_resize": True},
)
export(
    Eyes(),
    (torch.zeros(1, 3, SIDE, SIDE),),
    folder / "onnx/encoder_model.onnx",
    ["pixel_values"],
    ["last_hidden_state"],
    {"pixel_values": {0: "n"}, "last_hidden_state": {0: "n"}},
)
export(
    Decoder(words, embeds=True),
    (torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, PICTURE, WIDTH), *empty),
    folder / "onnx/decoder_model_merged.onnx",
    ["input_ids", "encoder_hidden_states", *past],
    ["logits", *present],
    {"input_ids": {0: "batch", 1: "length"}, "encoder_hidden_states": {0: "batch"}, "logits": {0: "batch", 1: "length"}} | growing,
)

folder = root / "florence"
folder.mkdir(parents=True, exist_ok=True)
words = tokenizer_for(folder, ["<pad>", "<s>", "</s>"])
text = {"model_type": "florence2_language", "d_model": WIDTH, "vocab_size": words, "is_encoder_decoder": True}
for side in ("encoder", "decoder"):
    text |= {f"{side}_layers": LAYERS, f"{side}_attention_heads": HEADS}
write(
    folder,
    config={
        "model_type": "florence2",
        "architectures": ["Florence2ForConditionalGeneration"],
        "is_encoder_decoder": True,
        "decoder_start_token_id": 2,
        "text_config": text,
    },
    generation_config={"decoder_start_token_id": 2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
    preprocessor_config=NORMAL
    | {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "Florence2Processor",
        "size": {"height": SIDE, "width": SIDE},
        "do_resize": True,
        "tasks_answer_post_processing_type": {"<CAPTION>": "pure_text", "<MORE_DETAILED_CAPTION>": "pure_text"},
        "task_prompts_without_inputs": {
            "<CAPTION>": "What does the image describe?",
            "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
        },
        "task_prompts_with_input": {},
    },
)
past, present = [[f"{kind}.{i}.decoder.{part}" for i in range(LAYERS) for part in ("key", "value")] for kind in ("past_key_values", "present")]
growing = {name: {0: "batch", 2: "length"} for name in past + present}
export(
    Eyes(),
    (torch.zeros(1, 3, SIDE, SIDE),),
    folder / "onnx/vision_encoder.onnx",
    ["pixel_values"],
    ["image_features"],
    {"pixel_values": {0: "n"}, "image_features": {0: "n"}},
)
export(
    nn.Embedding(words, WIDTH),
    (torch.zeros(1, 5, dtype=torch.long),),
    folder / "onnx/embed_tokens.onnx",
    ["input_ids"],
    ["inputs_embeds"],
    {"input_ids": {0: "batch", 1: "length"}, "inputs_embeds": {0: "batch", 1: "length"}},
)
export(
    Encoder(),
    (torch.zeros(1, 7, WIDTH), torch.ones(1, 7, dtype=torch.long)),
    folder / "onnx/encoder_model.onnx",
    ["inputs_embeds", "attention_mask"],
    ["last_hidden_state"],
    {name: {0: "batch", 1: "length"} for name in ("inputs_embeds", "attention_mask", "last_hidden_state")},
)
export(
    Hearing(words),
    (torch.zeros(1, 1, WIDTH), torch.zeros(1, 7, WIDTH), torch.ones(1, 7, dtype=torch.long), *empty),
    folder / "onnx/decoder_model_merged.onnx",
    ["inputs_embeds", "encoder_hidden_states", "encoder_attention_mask", *past],
    ["logits", *present],
    {name: {0: "batch", 1: f"length of {name}"} for name in ("inputs_embeds", "encoder_hidden_states", "encoder_attention_mask", "logits")}
    | growing,
)
