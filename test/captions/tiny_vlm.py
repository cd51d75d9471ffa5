"""A vision-language model of random weights and a tokenizer of its own (LLaVA: CLIP and LLaMA): python tiny_vlm.py FOLDER."""
import sys

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

# 2 × 2 patches: a picture is 4 tokens, which the proof counts.
PATCH, SIDE = 14, 28

bpe = ByteLevelBPETokenizer()
bpe.train_from_iterator(
    ["A red circle moves to the left while the camera stands still."], vocab_size=300, special_tokens=["<pad>", "<s>", "</s>", "<image>"]
)
tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=bpe._tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", extra_special_tokens={"image_token": "<image>"}
)
processor = LlavaProcessor(
    CLIPImageProcessor(size={"height": SIDE, "width": SIDE}, crop_size={"height": SIDE, "width": SIDE}),
    tokenizer,
    patch_size=PATCH,
    num_additional_image_tokens=1,
    vision_feature_select_strategy="default",
    chat_template=(
        "{% for m in messages %}{{ m['role'] + ': ' }}{% if m['content'] is string %}{{ m['content'] }}{% else %}"
        "{% for part in m['content'] %}{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endif %}"
        "{{ '</s>' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    ),
)
torch.manual_seed(0)
model = LlavaForConditionalGeneration(
    LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=PATCH
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=8192,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
    )
)
model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, 2
model.save_pretrained(sys.argv[1])
processor.save_pretrained(sys.argv[1])
