"""How datasets spell languages.

A dataset's `codes` in the config add to or replace these.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from routelmt.errors import UserError


class Language(NamedTuple):
    """Codes of a language in the FLORES-200 tarball (NLLB), FLORES+, BOUQuET and WMT24++."""

    flores: str
    flores_plus: str
    bouquet: str
    wmt24pp: str


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


def is_pair(direction: str, pair: str) -> bool:
    """Whether upstream's language pair (en-zh_CN) is that of a direction (en-zh).

    Codes are upstream's, or they lack its region, or its script and region.
    """
    sides = zip(direction.split("-"), pair.split("-"), strict=False)
    return all(found == code or found.startswith(f"{code}_") for code, found in sides)


def upstream_pair(direction: str, pairs: Collection[str], path: Path) -> str:
    """The one of the pairs in `path` that is a direction's; UserError for none or several."""
    found = [pair for pair in pairs if pair == direction]
    found = found or sorted(pair for pair in pairs if is_pair(direction, pair))
    if len(found) == 1:
        return found[0]
    what = f"is any of {', '.join(found)}" if found else "is not in it"
    raise UserError(
        f"{path}: direction '{direction}' {what}; there: {', '.join(sorted(pairs)) or 'none'}. "
        "Spell its languages in the config as upstream does, as far as they must be told apart, or "
        "leave the direction out."
    )
