# SPDX-License-Identifier: Apache-2.0
"""Regular English forms, and the words of `lexicon` as objects that know theirs."""
import dataclasses

import lexicon
import nouns

VOWELS = "aeiou"


def with_s(word):
    if word.endswith("y") and word[-2] not in VOWELS:
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh", "o")) else "s")


def with_ed(word):
    if word.endswith("y") and word[-2] not in VOWELS:
        return word[:-1] + "ied"
    return word + ("d" if word.endswith("e") else "ed")


def with_ing(word):
    return (word[:-1] if word.endswith("e") and not word.endswith("ee") else word) + "ing"


def with_article(word):
    """`word` after a or an; u as in university takes a."""
    return ("an " if word[0] in VOWELS and not word.startswith(("uni", "use")) else "a ") + word


@dataclasses.dataclass(frozen=True)
class Noun:
    english: str
    plural: str
    chinese: str
    measure: str
    kind: str


@dataclasses.dataclass(frozen=True)
class Adjective:
    english: str
    comparative: str
    chinese: str
    kinds: frozenset

    @property
    def attribute(self):
        """Before a noun: one syllable stands alone."""
        return self.chinese if len(self.chinese) == 1 else self.chinese + "的"


@dataclasses.dataclass(frozen=True)
class Verb:
    english: str
    past: str
    ing: str
    third: str
    chinese: str
    kinds: tuple = ()


def verb(forms, chinese, kinds=""):
    base, past, ing, third = (forms.split("/") + [""] * 3)[:4]
    return Verb(
        base, past or with_ed(base), ing or with_ing(base), third or with_s(base), chinese,
        tuple(kinds.split()))


def noun(forms, chinese, measure, kind):
    singular, _, plural = forms.partition(",")
    return Noun(singular, plural or with_s(singular), chinese, measure, kind)


def adjective(english, comparative, chinese, kinds):
    return Adjective(
        english, comparative or f"more {english}", chinese, frozenset(kinds.split()))


NOUNS = [noun(*row) for row in lexicon.rows(nouns.NOUNS)]
ADJECTIVES = [adjective(*row) for row in lexicon.rows(lexicon.ADJECTIVES)]
TRANSITIVES = [verb(*row) for row in lexicon.rows(lexicon.TRANSITIVES)]
STATES = [verb(*row) for row in lexicon.rows(lexicon.STATES)]
INTRANSITIVES = [verb(*row) for row in lexicon.rows(lexicon.INTRANSITIVES)]


def of_kinds(kinds):
    return [noun for noun in NOUNS if noun.kind in kinds]
