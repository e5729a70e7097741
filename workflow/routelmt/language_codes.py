"""What language a code is of. Codes may name a script and a region: zh_Hans, pt_BR, cmn_Hans."""

from __future__ import annotations

from collections.abc import Collection

# langcodes' distance between names of one language (no, nb), its regions (es, es_419) and what is
# one language but in name (sr, sh). Traditional and simplified Chinese are 54 apart, Basque and
# Spanish 20.
SAME = 9


def same_language(code: str, known: Collection[str]) -> str | None:
    """Which of the known codes is of the same language and script, None if none is."""
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    try:
        name, distance = langcodes.closest_match(code.replace("_", "-"), known, max_distance=SAME)
    except LanguageTagError:
        return code if code in known else None
    return None if distance > SAME else str(name)


def language_of(code: str) -> str:
    """The language of a code without its script and region: zh of zh_Hant and of cmn_Hans."""
    import langcodes
    from langcodes.tag_parser import LanguageTagError

    try:
        language = langcodes.Language.get(code.replace("_", "-")).prefer_macrolanguage().language
    except LanguageTagError:
        language = None
    return language or code
