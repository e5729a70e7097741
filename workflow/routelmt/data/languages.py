"""How datasets spell languages, and which script a language is written in.

A dataset's `codes` in the config add to or replace these.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from routelmt.errors import UserError


class Language(NamedTuple):
    """Codes of a language in the FLORES-200 tarball (NLLB), FLORES+, BOUQuET and WMT24++."""

    flores: str
    flores_plus: str
    bouquet: str
    wmt24pp: str

    @property
    def script(self) -> str:
        """ISO 15924 code of its script."""
        return self.flores.partition("_")[2]


def _one(code: str, locale: str, plus: str | None = None, bouquet: str | None = None) -> Language:
    plus = plus or code
    return Language(code, plus, bouquet or plus, locale)


LANGUAGES = {
    "ar": _one("arb_Arab", "ar_EG", bouquet="arz_Arab"),  # BOUQuET has no Standard Arabic
    "cs": _one("ces_Latn", "cs_CZ"),
    "de": _one("deu_Latn", "de_DE"),
    "en": _one("eng_Latn", "en"),
    "es": _one("spa_Latn", "es_MX"),
    "fr": _one("fra_Latn", "fr_FR"),
    "hi": _one("hin_Deva", "hi_IN"),
    "it": _one("ita_Latn", "it_IT"),
    "ja": _one("jpn_Jpan", "ja_JP"),
    "ko": _one("kor_Hang", "ko_KR", bouquet="kor_Kore"),
    "pl": _one("pol_Latn", "pl_PL"),
    "pt": _one("por_Latn", "pt_BR", bouquet="por_Latn_braz1246"),
    "ru": _one("rus_Cyrl", "ru_RU"),
    "th": _one("tha_Thai", "th_TH"),
    "tr": _one("tur_Latn", "tr_TR"),
    "uk": _one("ukr_Cyrl", "uk_UA"),
    "vi": _one("vie_Latn", "vi_VN"),
    "zh": _one("zho_Hans", "zh_CN", plus="cmn_Hans"),
}

# First words of the Unicode names of each script's letters.
_LETTERS = {
    "Arab": frozenset({"ARABIC"}),
    "Cyrl": frozenset({"CYRILLIC"}),
    "Deva": frozenset({"DEVANAGARI"}),
    "Hang": frozenset({"HANGUL"}),
    "Hans": frozenset({"CJK"}),
    "Jpan": frozenset({"CJK", "HIRAGANA", "KATAKANA"}),
    "Latn": frozenset({"LATIN"}),
    "Thai": frozenset({"THAI"}),
}
_LETTERS_READ = 500  # of a text: enough to know its script


def script_of(language: str) -> str | None:
    """ISO 15924 code of the script of a language code, None where it is not known."""
    known = LANGUAGES.get(language)
    return known.script if known else None


def letters_of(language: str) -> frozenset[str]:
    """What `written_in` may answer for a text in this language; empty if that is not known."""
    return _LETTERS.get(script_of(language) or "", frozenset())


def written_in(text: str) -> str | None:
    """First word of the Unicode name of most of its letters (LATIN, CJK, ...); None without any."""
    text = text[:_LETTERS_READ]
    if text.isascii():
        return "LATIN" if any(c.isalpha() for c in text) else None
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        if name := _letter(character):
            counts[name] += count
    return counts.most_common(1)[0][0] if counts else None


@cache
def _letter(character: str) -> str | None:
    if not character.isalpha():
        return None
    return unicodedata.name(character, "").partition(" ")[0] or None


def upstream_code(language: str, dataset: str, codes: Mapping[str, str]) -> str:
    """How `dataset` (a field of Language) spells a language; UserError if not known."""
    if language in codes:
        return codes[language]
    if language not in LANGUAGES:
        raise UserError(
            f"language '{language}': its code in {dataset} is not known. Add it to the dataset's "
            f"'codes' in the config, for example codes: {{{language}: "
            f"{getattr(LANGUAGES['de'], dataset)}}}."
        )
    return str(getattr(LANGUAGES[language], dataset))
