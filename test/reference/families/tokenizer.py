"""T5Tokenizer, judged by SentencePiece itself: its ids, then the end mark, cut and padded to `max_length`.

Each case trains a small Unigram model from the sentences below and carries the model file's bytes. The first has the
settings of T5's own spiece.model (Unigram, nmt_nfkc, dummy prefix, extra white space removed; pad 0, eos 1, unk 2).
"""

import io
from itertools import product

import numpy as np
import sentencepiece
import torch

from case import Case, Content

MODULE = "T5Tokenizer"
PAD, EOS, UNK = 0, 1, 2

SUBJECTS = ("A small red panda", "An old fisherman", "Two golden retrievers", "The astronaut", "A girl in a blue coat")
ACTIONS = ("walks slowly through", "is dancing in", "looks back at", "runs across", "paints a picture of")
PLACES = ("a bamboo forest", "the snow-covered city", "a quiet beach at sunset", "the café's garden", "Mars, in 1969")
STYLES = ("cinematic, 35mm film.", "the camera pans left.", "soft light; shallow focus!", '"slow motion", 4K?')
OTHERS = (
    "Ein Vogel fliegt über den Fluß, schöne Aussicht.",
    "Une forêt d'été où l'on entend la pluie, façon impressionniste.",
    "Un niño corre mañana por la montaña.",
    "Высокая гора отражается в озере.",
    "一只猫在下雨的街道上行走。",
    "夜の東京、ネオンの光。",
    "ﬁne ﬂowers ½ cup, 20°C, 3×4 = 12, 50% off — “quoted” … the end",
)

# Characters that must have a piece, so that a wrong normal form shows as another id and not as one more unknown.
ALPHABET = "".join(chr(code) for code in range(0x21, 0x7F)) + (
    "ÅáéëêñòüßæÜệ⁄°…—–−‐¬¦¯¸´¨̧̣̇́⅓½あ漢字夜京ガギパネオンカキバ゚가각ᆨﷺصلىعربية中🐼👍❤𠮷\u200d\ufe0f\u20e3\ufffd"
)


def sentences() -> list[str]:
    return [", ".join((" ".join(parts[:3]), parts[3])) for parts in product(SUBJECTS, ACTIONS, PLACES, STYLES)] + [
        sentence for sentence in OTHERS for _ in range(20)
    ]


def train(**changes) -> bytes:
    settings = {
        "model_type": "unigram",
        "vocab_size": 400,
        "character_coverage": 1.0,
        "required_chars": ALPHABET,
        "normalization_rule_name": "nmt_nfkc",
        "pad_id": PAD,
        "eos_id": EOS,
        "unk_id": UNK,
        "bos_id": -1,
        "pad_piece": "<pad>",
        "hard_vocab_limit": False,
        "num_threads": 1,  # the sums of the EM steps depend on it
        "minloglevel": 2,
    }
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences()), model_writer=model, **(settings | changes)
    )
    return model.getvalue()


def tokenize(text: list[str], max_length: int, **changes):
    def build(case: Case) -> Content:
        model = train(**changes)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        rows = []
        for ids in processor.encode(text):
            row = [*ids[: max_length - 1], EOS]
            rows.append(row + [PAD] * (max_length - len(row)))
        return Content(
            options={"text": text, "max_length": max_length},
            weights={"spiece_model": torch.from_numpy(np.frombuffer(model, dtype=np.uint8).copy())},
            outputs={"input_ids": torch.tensor(rows, dtype=torch.int32)},
        )

    return build


TEXT = [
    "",
    " ",
    "a",
    "A small red panda is dancing in a bamboo forest, cinematic, 35mm film.",
    "  leading, trailing   and    inner spaces  ",
    "tab\there, newline\nthere, both\r\n\t\u000b\u000c, end\n",
    "no-break\u00a0space, thin\u2009space, ideographic\u3000space, zero\u200bwidth, joiner\u200d, BOM\ufeff, mark\u200e",
    "control \u0001 \u0007 \u001b \u007f \u0085 soft\u00adhyphen \u2028 line \u2029 paragraph",
    "ﬁ ﬂ ﬃ ½ ² ³ ™ ℃ Ⅷ ㎏ ① … ‥ ﷺ",  # compatibility forms
    "ＦＵＬＬ ｗｉｄｔｈ １２３！？ ｶﾞｷﾞ ﾊﾟ",  # full-width Latin, half-width kana with marks
    "café cafe\u0301 Å A\u030a ñ n\u0303 ệ e\u0323\u0302 e\u0302\u0323",  # composed, decomposed, reordered marks
    "가각 \u1100\u1161\u1100\u1161\u11a8 각\u11a8",  # Hangul, precomposed and as jamo
    "a\u0301\u0301\u0301 \u0301alone q\u0307\u0323",  # stacked and stray marks
    "panda 🐼 family 👨‍👩‍👧‍👦 flag 🇫🇷 tone 👍🏽 heart ❤️ keycap 3️⃣",
    "Ein Vogel über den Fluß. ÜBER STRASSE ẞ İstanbul ıı ſ",
    "Высокая гора. 一只猫在下雨的街道上行走。夜の東京、ﾈｵﾝの光。 العربية עברית हिन्दी ไทย",
    "</s> <pad> <unk> <extra_id_0> <s> [CLS]",  # plain text, not marks
    "▁already ▁▁marked▁ _underscore_",
    "~ ～ 〜 ‐ ‑ – — − ‾ ' ’ ‘ “ ” ` ´ ¨ \\ / | ¦ ¬ ¯ ¸",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ℌ𝔢𝕝𝓁𝑜 𝟙𝟚𝟛 𐍈 𠮷 \U0001f9ff",  # beyond the first plane
    "�  \ufffe \ufdd0 \ue000",  # replacement, non-characters, private use
    "The camera pans left " * 40,
]

SPACES = ["", " ", "  two  spaces  ", "tab\tand\nnewline ", "a  b   c", "ＦＵＬＬ ﬁ ½", "🐼 漢字 \u0001", "no\u00a0break"]

CASES = [
    Case(MODULE, "t5", tokenize(TEXT, 64)),
    Case(
        MODULE,
        "byte_fallback_identity",
        tokenize(
            SPACES,
            24,
            vocab_size=420,
            byte_fallback=True,
            required_chars="",
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
        ),
    ),
    Case(
        MODULE,
        "no_dummy_prefix",
        tokenize(
            SPACES,
            9,
            vocab_size=150,
            required_chars="",
            normalization_rule_name="identity",
            add_dummy_prefix=False,
        ),
    ),
]
