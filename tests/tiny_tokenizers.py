"""Small tokenizers and chat templates, trained here on a few words; nothing is downloaded."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors as post_processors
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

CONTROL_TOKENS = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>")

_TURN = "<|{{ m.role }}|>{{ m.content }}<|end|>"
_GENERATION = "{% if add_generation_prompt %}<|assistant|>{% endif %}"

T1_PLAIN = "{% for m in messages %}" + _TURN + "{% endfor %}" + _GENERATION
T2_NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('system turn unsupported') }}"
    "{% endif %}" + T1_PLAIN
)
T3_TRIMS = T1_PLAIN.replace("m.content", "m.content | trim")
T4_OWN_BOS = "{{ bos_token }}" + T1_PLAIN
_LAST_USER = (
    "{% set ns = namespace(last_user=-1) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last_user = loop.index0 %}"
    "{% endif %}{% endfor %}"
)
T5_THINKING = (
    _LAST_USER + "{% for m in messages %}<|{{ m.role }}|>"
    "{% if m.role == 'assistant' and loop.index0 < ns.last_user %}"
    "{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}<|end|>"
    "{% endfor %}" + _GENERATION
)
# As T5, and the last answer always gets a reasoning block, printed anew on lines of its own.
REPRINTS_THINKING = (
    _LAST_USER + "{% for m in messages %}<|{{ m.role }}|>"
    "{% set answer = m.content.split('</think>')[-1] | trim %}"
    "{% if m.role != 'assistant' or loop.index0 < ns.last_user %}{{ answer }}"
    "{% else %}<think>\n"
    "{% if '</think>' in m.content %}"
    "{{ m.content.split('</think>')[0].split('<think>')[-1] | trim }}{% endif %}"
    "\n</think>\n\n{{ answer }}{% endif %}<|end|>{% endfor %}" + _GENERATION
)
ALTERNATES = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}" + _TURN + "{% endfor %}"
)
# Nothing between the turns: prompt and answer touch.
BARE = "{% for m in messages %}{{ m.content }}{% endfor %}"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_CORPUS = [
    "Reply as file .json",
    "name.json other.json .json .json",
    "Total: 42 EUR 42 EUR 42",
    "Name a river. The Loire. Yes. No. Hello Hi",
    "user assistant system",
] * 20


def _byte_level(extra_tokens: tuple[str, ...], trim_offsets: bool, adds_bos: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    # No splitting at punctuation or spaces, so that merges across them are learnt.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<pad>", "<s>", "</s>", *CONTROL_TOKENS, *extra_tokens]
    tokenizer.train_from_iterator(
        _CORPUS,
        BpeTrainer(
            vocab_size=420,
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if trim_offsets:
        tokenizer.post_processor = post_processors.ByteLevel(trim_offsets=True)
    if adds_bos:
        tokenizer.post_processor = post_processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    return tokenizer


def byte_level_tokenizer(
    template: str | None = T1_PLAIN,
    *,
    trim_offsets: bool = False,
    adds_bos: bool = False,
    pad_token: str = "<pad>",
    extra_tokens: tuple[str, ...] = (),
) -> PreTrainedTokenizerFast:
    """Byte-level BPE with tokens across words, such as `.json` and ` 42`."""
    return PreTrainedTokenizerFast(
        tokenizer_object=_byte_level(extra_tokens, trim_offsets, adds_bos),
        bos_token="<s>",
        eos_token="</s>",
        pad_token=pad_token,
        chat_template=template,
    )


def sentencepiece_like_tokenizer(template: str = T1_PLAIN) -> PreTrainedTokenizerFast:
    """Every piece between special tokens gets a space in front, written as a low line."""
    letters = sorted(set("".join(_CORPUS).replace(" ", "▁")) | {"▁"})
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    words = ["The", "▁The", "▁Yes", "▁42"]
    vocabulary = {
        token: index
        for index, token in enumerate(
            ["<unk>", "<s>", "</s>", *byte_tokens, *letters, "Th", "▁Th", "▁Y", "▁Ye", "▁4", *words]
        )
    }
    merges = [("T", "h"), ("Th", "e"), ("▁", "Th"), ("▁Th", "e"), ("▁", "Y"), ("▁Y", "e")]
    merges += [("▁Ye", "s"), ("▁", "4"), ("▁4", "2")]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in CONTROL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=template,
    )


class CharacterTokenizer(PreTrainedTokenizer):
    """One token a character, in Python, without offsets."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("bos_token", "<s>")
        kwargs.setdefault("eos_token", "</s>")
        super().__init__(**kwargs)

    @property
    def vocab_size(self) -> int:
        return 0x3000

    def get_vocab(self) -> dict[str, int]:
        return {**{chr(i): i for i in range(self.vocab_size)}, **self.added_tokens_encoder}

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return ord(token)

    def _convert_id_to_token(self, index: int) -> str:
        return chr(index)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens)


@lru_cache
def plain_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level with the plain template; shared, do not change it."""
    return byte_level_tokenizer()
