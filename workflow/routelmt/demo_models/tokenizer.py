"""A byte-level BPE with the prompt's fixed phrases as single tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from routelmt.translate import prompts

PAD, TURN, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
ASK, ANSWER = f"{TURN}user\n", f"{END}\n{TURN}assistant\n"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def template_phrases(
    template: str, languages: Mapping[str, str], directions: Iterable[str]
) -> list[str]:
    """What the template puts before and after the text, for every direction.

    As single tokens they make a prompt four tokens longer than its text, not thirty. Another
    template still works: its words are then spelt in pieces.
    """
    phrases: set[str] = set()
    for direction in directions:
        whole = prompts.render(template, languages, direction, "\0")
        phrases.update(part for part in whole.split("\0") if part)
    return sorted(phrases)


def train_tokenizer(texts: Sequence[str], phrases: Sequence[str], size: int) -> Any:
    """A PreTrainedTokenizerFast of `size` entries, BPE merges learned from `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size - len(phrases),
            special_tokens=[PAD, TURN, END, ASK, ANSWER],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.add_tokens(list(phrases))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
