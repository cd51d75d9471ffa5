"""Train the SentencePiece tokenizer and the T5 text encoder.

The transformer attends to every text position, padding included, and T5 runs without a mask. So the
encoder is trained to give, at every position, the sum of one fixed orthogonal code vector per
attribute value: compositional by construction, and readable by plain averaging. An attribute that the
caption leaves out has a code of its own, so an empty caption is the unconditional one.
"""

from __future__ import annotations

import json
import random
import time

import sentencepiece
import torch
from transformers import T5Config, T5EncoderModel, T5Tokenizer

import common
import shapes

LENGTH = 24
PIECES = 256
WIDTH = 128

# Everyday words, so that other English text splits into sensible pieces too.
EVERYDAY = """the of and to in is it you that he was for on are with as his they be at one have this from or
had by hot but some what there we can out other were all your when up use word how said an each she which do
their time if will way about many then them would write like so these her long make thing see him two has look
more day could go come did my sound no most number who over know water than call first people may down side
been now find any new work part take get place made live where after back little only round man year came show
every good me give our under name very through just form much great think say help low line before turn cause
same mean differ move right boy old too does tell sentence set three want air well also play small end put home
read hand port large spell add even land here must big high such follow act why ask men change went light kind
off need house picture try us again animal point mother world near build self earth father slowly quickly video
dot ball box disc colour color dark bright plain orange purple pink brown star line left stays still scene"""


def train_tokenizer(folder):
    """A Unigram spiece.model laid out as T5's: <pad> 0, </s> 1, <unk> 2, no <s>."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = [c.caption(form) for c in shapes.training_combinations() for form in range(len(shapes.CAPTION_FORMS))]
    letters = "".join(chr(i) for i in range(33, 127))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(captions + EVERYDAY.split() * 20),
        model_prefix=str(folder / "spiece"),
        model_type="unigram",
        vocab_size=PIECES,
        normalization_rule_name="nmt_nfkc",
        character_coverage=1.0,
        required_chars=letters,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        pad_piece="<pad>",
        eos_piece="</s>",
        unk_piece="<unk>",
        num_threads=1,
        minloglevel=1,
    )
    (folder / "spiece.vocab").unlink()
    config = {
        "tokenizer_class": "T5Tokenizer",
        "model_max_length": LENGTH,
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "extra_ids": 0,
        "additional_special_tokens": [],
        "legacy": True,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def create() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=PIECES,
            d_model=WIDTH,
            d_kv=32,
            num_heads=4,
            d_ff=256,
            num_layers=2,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            is_encoder_decoder=False,
            use_cache=False,
            tie_word_embeddings=False,
        )
    )


def tokenize(tokenizer, captions: list[str]) -> torch.Tensor:
    """Exactly as CogVideoXPipeline does."""
    return tokenizer(
        captions,
        padding="max_length",
        max_length=LENGTH,
        truncation=True,
        add_special_tokens=True,
        return_tensors="pt",
    ).input_ids


def codes() -> list[torch.Tensor]:
    """Per attribute a table [values + 1, WIDTH]; the last row stands for "not said"."""
    counts = [len(shapes.VALUES[name]) + 1 for name in shapes.ATTRIBUTES]
    generator = torch.Generator().manual_seed(7)
    basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))[0]
    # Four unit vectors add up to length 2; scaled to a root mean square of 1 per channel.
    return list((basis[: sum(counts)] * (WIDTH**0.5 / 2)).split(counts))


def partial_caption(c: shapes.Combination, rng: random.Random) -> tuple[str, list[int]]:
    """A caption that leaves some attributes out, and its labels."""
    labels = list(c.labels())
    keep = [rng.random() < 0.5 for _ in labels]
    words = ["a"] if rng.random() < 0.7 else []
    if keep[0]:
        words.append(c.colour)
    words.append(c.shape if keep[1] else rng.choice(["thing", "figure", "object"]))
    if keep[2]:
        words.append(c.motion)
    if keep[3]:
        words.append(f"on a {c.background} background")
    return " ".join(words), [v if k else len(shapes.VALUES[n]) for v, k, n in zip(labels, keep, shapes.ATTRIBUTES)]


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    log = common.Log(args.work / "text.log")
    folder = args.work / "tokenizer"
    if not (folder / "tokenizer_config.json").exists():
        train_tokenizer(folder)
    tokenizer = T5Tokenizer.from_pretrained(folder)

    combinations, held_out = shapes.training_combinations(), shapes.held_out_combinations()
    empty = [len(shapes.VALUES[name]) for name in shapes.ATTRIBUTES]
    tables = codes()

    def target(labels: torch.Tensor) -> torch.Tensor:
        return sum(table[labels[:, i]] for i, table in enumerate(tables))[:, None]

    whole = [(c.caption(f), c.labels()) for c in combinations for f in range(len(shapes.CAPTION_FORMS))]
    whole_tokens = tokenize(tokenizer, [w[0] for w in whole])
    longest = int((whole_tokens != 0).sum(1).max())
    log(f"tokenizer: {len(tokenizer)} pieces, longest caption {longest} tokens, unknown {int((whole_tokens == 2).sum())}")
    whole_labels = torch.tensor([w[1] for w in whole])

    model = create()
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    rng = random.Random(args.seed)
    start = 0
    if state := common.load(args.work / "text.pt"):
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
    log(f"text encoder: {common.parameters(model):,} parameters, from step {start}")
    began = time.time()
    for step in range(start, args.steps):
        common.set_learning_rate(optimiser, common.learning_rate(step, args.steps, args.lr))
        pick = torch.randint(len(whole), (args.batch,))
        extra = [partial_caption(rng.choice(combinations), rng) for _ in range(args.batch // 2)] + [("", empty)] * 4
        tokens = torch.cat([whole_tokens[pick], tokenize(tokenizer, [e[0] for e in extra])])
        labels = torch.cat([whole_labels[pick], torch.tensor([e[1] for e in extra])])
        error = (model(tokens).last_hidden_state - target(labels)).pow(2)
        loss = error.mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % 200 == 199 or step == args.steps - 1:
            common.save(args.work / "text.pt", model=model.state_dict(), optimiser=optimiser.state_dict(), step=step + 1)
            with torch.no_grad():
                unseen = tokenize(tokenizer, [c.caption(f) for f in range(len(shapes.CAPTION_FORMS)) for c in held_out])
                labels = torch.tensor([c.labels() for c in held_out] * len(shapes.CAPTION_FORMS))
                hidden = model(unseen).last_hidden_state
                right = torch.stack([(hidden @ t.T).argmax(-1) == labels[:, i, None] for i, t in enumerate(tables)])
                log(
                    f"step {step} loss {loss.item():.5f}; held-out captions: error {(hidden - target(labels)).pow(2).mean():.5f}, "
                    f"positions right {right.float().mean():.4f} {time.time() - began:.0f}s"
                )


if __name__ == "__main__":
    main()
