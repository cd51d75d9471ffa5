/** The Python that tunes a student with TRL, in the user's own environment: `python train.py` beside the files of pairs. */

export interface TrlOptions {
  /** A folder, or a name on the hub. */
  readonly base: string;
  readonly epochs?: number;
  readonly batch?: number;
  readonly learningRate?: number;
  /** Rank of the adapter; 0 tunes all weights. */
  readonly rank?: number;
  readonly seed?: number;
}

/** TRL's versions from 0.20 on know these names. The student lies in `student/`, whole: an adapter is merged into it. */
export const trlScript = ({ base, epochs = 1, batch = 4, learningRate = 1e-4, rank = 64, seed = 0 }: TrlOptions): string => `\
"""Tunes a summariser on a teacher's merges (trl-train.jsonl). Needs trl${rank ? ", peft" : ""} and torch."""
import json
from pathlib import Path

import torch
from datasets import load_dataset
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

here = Path(__file__).parent
base = ${JSON.stringify(base)}
data = load_dataset("json", data_files={"train": str(here / "trl-train.jsonl"), "validation": str(here / "trl-validation.jsonl")})
tokenizer = AutoTokenizer.from_pretrained(base)
if tokenizer.chat_template is None:  # base models have none
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
if tokenizer.pad_token is None:
    tokenizer.pad_token = tokenizer.eos_token
${
  rank
    ? `from peft import LoraConfig

adapter = LoraConfig(r=${rank}, lora_alpha=${rank}, target_modules="all-linear", task_type="CAUSAL_LM")`
    : "adapter = None"
}
trainer = SFTTrainer(
    model=base,
    args=SFTConfig(
        output_dir=str(here / "checkpoints"),
        num_train_epochs=${epochs},
        per_device_train_batch_size=${batch},
        learning_rate=${learningRate},
        lr_scheduler_type="cosine",
        warmup_steps=10,
        logging_steps=10,
        save_strategy="epoch",
        eval_strategy="epoch",
        max_length=4096,
        completion_only_loss=True,
        report_to="none",
        use_cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available()),
        bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
        seed=${seed},
    ),
    train_dataset=data["train"],
    eval_dataset=data["validation"],
    processing_class=tokenizer,
    peft_config=adapter,
)
before = trainer.evaluate()["eval_loss"]
trainer.train()
after = trainer.evaluate()["eval_loss"]
model = trainer.model.merge_and_unload() if adapter else trainer.model
model.save_pretrained(here / "student")
tokenizer.save_pretrained(here / "student")
(here / "student.json").write_text(json.dumps({"base": base, "loss_before": before, "loss_after": after}))
print(f"student in {here / 'student'}: loss on held-out pairs {before:.4f} before, {after:.4f} after")
`;
