# SPDX-License-Identifier: Apache-2.0
"""Sentences in English and Chinese at once, from a grammar in which each has one translation.

What English says by a form, Chinese says by a word, and so nothing is lost either way: "the cat" is
猫, "a cat" 一只猫, "these cats" 这些猫, the past is 了. What Chinese leaves open (a plural after
"my", a past of a state) is not made.

A verb and its object are a combination. One in twenty is held out: training never sees it, and
each held-out sentence has one, so that translating it is not remembering.
"""
import dataclasses
import zlib

import lexicon
import morphology as words

PRONOUNS = [
    ("I", "me", "my", "我"), ("you", "you", "your", "你"), ("he", "him", "his", "他"),
    ("she", "her", "her", "她"), ("we", "us", "our", "我们"), ("they", "them", "their", "他们"),
]
DEMONSTRATIVES = [("this", "这", 1), ("that", "那", 1), ("these", "这些", 2), ("those", "那些", 2)]
PLACES = words.of_kinds({"place"})


def is_held_out(verb, noun):
    return zlib.crc32(f"{verb.english}+{noun.english}".encode()) % 20 == 0


@dataclasses.dataclass(frozen=True)
class NounPhrase:
    """`english` as an object and `subject` as a subject; `be` says which verb forms agree."""

    english: str
    chinese: str
    be: str = "is"
    subject: str = ""

    @property
    def nominative(self):
        return self.subject or self.english

    @property
    def is_third(self):
        return self.be == "is"

    @property
    def was(self):
        return "were" if self.be == "are" else "was"


@dataclasses.dataclass(frozen=True)
class Action:
    """A verb with what follows it; the English in every form that a clause may ask for."""

    base: str
    third: str
    past: str
    ing: str
    chinese: str
    chinese_past: str

    def present(self, subject):
        return self.third if subject.is_third else self.base


class Grammar:
    """Draws sentences; the same `random.Random` gives the same ones."""

    def __init__(self, random, held_out=False):
        self.random = random
        self.held_out = held_out
        self.used_held_out = False

    def sentence(self):
        """An English sentence and its Chinese one."""
        while True:
            self.used_held_out = False
            pair = self._choose(SENTENCES)(self)
            if self.used_held_out == self.held_out:
                return tuple(_capitalised(text) for text in pair)

    # Noun phrases

    def _choose(self, items):
        return items[int(self.random.random() * len(items))]

    def _chance(self, probability):
        return self.random.random() < probability

    def _adjective(self, noun):
        fitting = [a for a in words.ADJECTIVES if noun.kind in a.kinds]
        return self._choose(fitting) if fitting and self._chance(0.3) else None

    def _noun_phrase(self, noun, definite=False):
        adjective = self._adjective(noun)
        singular = f"{adjective.english} {noun.english}" if adjective else noun.english
        plural = f"{adjective.english} {noun.plural}" if adjective else noun.plural
        chinese = (adjective.attribute if adjective else "") + noun.chinese
        form = self.random.random()
        if form < 0.25:
            return NounPhrase(f"the {singular}", chinese)
        if form < 0.45:
            _, _, possessive, owner = self._choose(PRONOUNS)
            return NounPhrase(f"{possessive} {singular}", f"{owner}的{chinese}")
        if form < 0.65 or definite:
            english, start, number = self._choose(DEMONSTRATIVES)
            if number == 1:
                return NounPhrase(f"{english} {singular}", f"{start}{noun.measure}{chinese}")
            return NounPhrase(f"{english} {plural}", start + chinese, "are")
        if form < 0.85:
            article = words.with_article(singular)
            return NounPhrase(article, f"一{noun.measure}{chinese}")
        if form < 0.93:
            index = int(self.random.random() * len(lexicon.NUMBERS))
            return NounPhrase(
                f"{lexicon.NUMBER_WORDS[index]} {plural}",
                f"{lexicon.NUMBERS[index]}{noun.measure}{chinese}", "are")
        english, start = self._choose([("many", "很多"), ("some", "一些")])
        return NounPhrase(f"{english} {plural}", start + chinese, "are")

    def _name(self):
        return NounPhrase(*self._choose(lexicon.rows(lexicon.NAMES)))

    def _pronoun(self):
        nominative, accusative, _, chinese = self._choose(PRONOUNS)
        be = {"I": "am", "he": "is", "she": "is"}.get(nominative, "are")
        return NounPhrase(accusative, chinese, be, nominative)

    def _person(self):
        form = self.random.random()
        if form < 0.35:
            return self._pronoun()
        if form < 0.55:
            return self._name()
        return self._noun_phrase(self._choose(words.of_kinds({"person"})))

    def _actor(self):
        if self._chance(0.15):
            return self._noun_phrase(self._choose(words.of_kinds({"animal"})))
        return self._person()

    def _thing(self, kinds, definite=False):
        return self._noun_phrase(self._choose(words.of_kinds(kinds)), definite)

    # Verbs

    def _object(self, verb):
        """A noun phrase that the verb may take, in a combination of the right side."""
        wants_held_out = self.held_out and self._chance(0.5)
        kinds = [self._choose(verb.kinds)] if not wants_held_out else verb.kinds
        nouns = [n for n in words.of_kinds(kinds) if is_held_out(verb, n) == wants_held_out]
        noun = self._choose(nouns or words.of_kinds(verb.kinds))
        self.used_held_out |= is_held_out(verb, noun)
        if noun.kind == "person" and self._chance(0.4):
            return self._pronoun() if self._chance(0.5) else self._name()
        return self._noun_phrase(noun)

    def _action(self):
        """An action with an object three times of four."""
        if self._chance(0.25):
            verb = self._choose(words.INTRANSITIVES)
            return Action(
                verb.english, verb.third, verb.past, verb.ing, verb.chinese, verb.chinese + "了")
        verb = self._choose(words.TRANSITIVES)
        noun = self._object(verb)
        return Action(
            *(f"{form} {noun.english}" for form in (verb.english, verb.third, verb.past, verb.ing)),
            verb.chinese + noun.chinese, f"{verb.chinese}了{noun.chinese}")

    def _place(self):
        """Where an action takes place, or nothing."""
        if self._chance(0.7):
            return "", ""
        if self._chance(0.25):
            english, chinese = self._choose(lexicon.rows(lexicon.CITIES))
            return f" in {english}", f"在{chinese}"
        place = self._choose(PLACES)
        return f" in the {place.english}", f"在{place.chinese}里"

    def _time(self, tense, probability=0.5):
        if not self._chance(probability):
            return "", ""
        english, chinese = self._choose(lexicon.rows(lexicon.TIMES[tense]))
        return f" {english}", chinese

    # Clauses: English without a full stop and without a capital, Chinese without 。

    def _past(self):
        s, action, place, time = self._actor(), self._action(), self._place(), self._time("past")
        if self._chance(0.2):
            return (
                f"{s.nominative} did not {action.base}{place[0]}{time[0]}",
                f"{s.chinese}{time[1]}没有{place[1]}{action.chinese}")
        return (
            f"{s.nominative} {action.past}{place[0]}{time[0]}",
            f"{s.chinese}{time[1]}{place[1]}{action.chinese_past}")

    def _habit(self):
        s, action, place = self._actor(), self._action(), self._place()
        if self._chance(0.5):
            english, chinese = self._choose(lexicon.rows(lexicon.FREQUENCIES))
            return (
                f"{s.nominative} {english} {action.present(s)}{place[0]}",
                f"{s.chinese}{chinese}{place[1]}{action.chinese}")
        time = self._time("habit", 1)
        if self._chance(0.25):
            do = "does" if s.is_third else "do"
            return (
                f"{s.nominative} {do} not {action.base}{place[0]}{time[0]}",
                f"{s.chinese}{time[1]}不{place[1]}{action.chinese}")
        return (
            f"{s.nominative} {action.present(s)}{place[0]}{time[0]}",
            f"{s.chinese}{time[1]}{place[1]}{action.chinese}")

    def _progress(self):
        s, action, place = self._actor(), self._action(), self._place()
        return (
            f"{s.nominative} {s.be} {action.ing}{place[0]}",
            f"{s.chinese}正在{place[1].removeprefix('在')}{action.chinese}")

    def _modal(self):
        s, action, place = self._actor(), self._action(), self._place()
        time = self._time("future", 0.4)
        base, third, negative, question, chinese, chinese_not = self._choose(
            lexicon.rows(lexicon.MODALS))
        if self._chance(0.25):
            do = "" if question != "Do" else "does " if s.is_third else "do "
            return (
                f"{s.nominative} {do}{negative} {action.base}{place[0]}{time[0]}",
                f"{s.chinese}{time[1]}{chinese_not}{place[1]}{action.chinese}")
        return (
            f"{s.nominative} {third if s.is_third else base} {action.base}{place[0]}{time[0]}",
            f"{s.chinese}{time[1]}{chinese}{place[1]}{action.chinese}")

    def _state(self):
        s, verb = self._person(), self._choose(words.STATES)
        noun = self._object(verb)
        if self._chance(0.3):
            do = "does" if s.is_third else "do"
            return (
                f"{s.nominative} {do} not {verb.english} {noun.english}",
                f"{s.chinese}不{verb.chinese}{noun.chinese}")
        present = verb.third if s.is_third else verb.english
        return f"{s.nominative} {present} {noun.english}", s.chinese + verb.chinese + noun.chinese

    def _described(self):
        """A noun phrase, what kind it is, and an adjective that fits."""
        while True:
            noun = self._choose(words.NOUNS)
            fitting = [
                a for a in words.ADJECTIVES
                if noun.kind in a.kinds and a.english not in lexicon.COLOURS]
            if fitting:
                break
        subject = self._noun_phrase(noun, definite=True)
        if noun.kind == "person" and self._chance(0.5):
            subject = self._pronoun() if self._chance(0.5) else self._name()
        return subject, noun, self._choose(fitting)

    def _quality(self):
        s, noun, adjective = self._described()
        form = self.random.random()
        if form < 0.4:
            return f"{s.nominative} {s.be} {adjective.english}", f"{s.chinese}很{adjective.chinese}"
        if form < 0.55:
            return (
                f"{s.nominative} {s.be} very {adjective.english}",
                f"{s.chinese}非常{adjective.chinese}")
        if form < 0.7:
            return (
                f"{s.nominative} {s.be} not {adjective.english}",
                f"{s.chinese}不{adjective.chinese}")
        other = self._thing({noun.kind}, definite=True)
        return (
            f"{s.nominative} {s.be} {adjective.comparative} than {other.english}",
            f"{s.chinese}比{other.chinese}{adjective.chinese}")

    def _position(self):
        english, chinese, kinds = self._choose(lexicon.rows(lexicon.POSITIONS))
        where = self._choose(words.of_kinds(kinds.split()))
        movable = self._thing({"animal", "text", "thing", "clothes", "food"}, definite=True)
        if self._chance(0.5):
            return (
                f"{movable.nominative} {movable.be} {english} the {where.english}",
                f"{movable.chinese}在{where.chinese}{chinese}")
        noun = self._choose(words.of_kinds({"animal", "text", "thing", "food"}))
        if self._chance(0.6):
            there = f"there is {words.with_article(noun.english)}"
            amount = f"一{noun.measure}"
        else:
            index = int(self.random.random() * len(lexicon.NUMBERS))
            there = f"there are {lexicon.NUMBER_WORDS[index]} {noun.plural}"
            amount = lexicon.NUMBERS[index] + noun.measure
        return (
            f"{there} {english} the {where.english}",
            f"{where.chinese}{chinese}有{amount}{noun.chinese}")

    def _possession(self):
        s, noun = self._person(), self._thing({"animal", "text", "thing", "clothes", "vehicle"})
        if self._chance(0.25):
            do = "does" if s.is_third else "do"
            return f"{s.nominative} {do} not have {noun.english}", f"{s.chinese}没有{noun.chinese}"
        have = "has" if s.is_third else "have"
        return f"{s.nominative} {have} {noun.english}", f"{s.chinese}有{noun.chinese}"

    def _gift(self):
        giver, receiver = self._person(), self._person()
        noun, time = self._thing({"text", "thing", "clothes", "food"}), self._time("past")
        return (
            f"{giver.nominative} gave {receiver.english} {noun.english}{time[0]}",
            f"{giver.chinese}{time[1]}给了{receiver.chinese}{noun.chinese}")

    def _journey(self):
        s, place = self._person(), self._choose(PLACES)
        vehicle = self._choose(
            [("bus", "坐公共汽车"), ("train", "坐火车"), ("plane", "坐飞机"), ("taxi", "坐出租车"),
             ("car", "开车"), ("bicycle", "骑自行车"), ("", "")])
        by = f" by {vehicle[0]}" if vehicle[0] else ""
        with_whom, companion = "", ""
        if self._chance(0.3):
            other = self._person()
            with_whom, companion = f" with {other.english}", f"和{other.chinese}一起"
        if self._chance(0.6):
            time = self._time("past")
            return (
                f"{s.nominative} went to the {place.english}{with_whom}{by}{time[0]}",
                f"{s.chinese}{time[1]}{companion}{vehicle[1]}去了{place.chinese}")
        time = self._time("future")
        return (
            f"{s.nominative} will go to the {place.english}{with_whom}{by}{time[0]}",
            f"{s.chinese}{time[1]}会{companion}{vehicle[1]}去{place.chinese}")

    def _identity(self):
        s = self._pronoun() if self._chance(0.5) else self._name()
        noun = self._choose(words.of_kinds({"person"}))
        if s.be == "are" and s.nominative != "you":
            s = self._name()
        if self._chance(0.4):
            _, _, possessive, owner = self._choose(PRONOUNS)
            return (
                f"{s.nominative} {s.be} {possessive} {noun.english}",
                f"{s.chinese}是{owner}的{noun.chinese}")
        return (
            f"{s.nominative} {s.be} {words.with_article(noun.english)}",
            f"{s.chinese}是一{noun.measure}{noun.chinese}")

    def _clause(self):
        return self._choose(CLAUSES)(self)

    # Whole sentences

    def _statement(self):
        english, chinese = self._clause()
        return f"{english}.", f"{chinese}。"

    def _two_clauses(self):
        first, second = self._clause(), self._clause()
        before, between, start, middle = self._choose(
            [("because ", ", ", "因为", ",所以"), ("if ", ", ", "如果", ",那么"),
             ("when ", ", ", "当", "的时候,"), ("although ", ", ", "虽然", ",但是"),
             ("", ", and ", "", ",而且"), ("", ", but ", "", ",不过"),
             ("", ", so ", "", ",因此"), ("before ", ", ", "在", "之前,")])
        return (
            f"{before}{first[0]}{between}{second[0]}.", f"{start}{first[1]}{middle}{second[1]}。")

    def _report(self):
        s, clause = self._person(), self._clause()
        past, present, third, chinese = self._choose(
            [("said", "", "", "说"), ("", "think", "thinks", "认为"), ("", "know", "knows", "知道"),
             ("", "believe", "believes", "相信"), ("", "hope", "hopes", "希望")])
        says = past or (third if s.is_third else present)
        return f"{s.nominative} {says} that {clause[0]}.", f"{s.chinese}{chinese}{clause[1]}。"

    def _question(self):
        s, action, place = self._actor(), self._action(), self._place()
        form = self._choose(["past", "habit", "modal", "progress"])
        if form == "past":
            time = self._time("past")
            return (
                f"did {s.nominative} {action.base}{place[0]}{time[0]}?",
                f"{s.chinese}{time[1]}{place[1]}{action.chinese_past}吗?")
        if form == "habit":
            time = self._time("habit", 1)
            do = "does" if s.is_third else "do"
            return (
                f"{do} {s.nominative} {action.base}{place[0]}{time[0]}?",
                f"{s.chinese}{time[1]}{place[1]}{action.chinese}吗?")
        if form == "progress":
            return (
                f"{s.be} {s.nominative} {action.ing}{place[0]}?",
                f"{s.chinese}正在{place[1].removeprefix('在')}{action.chinese}吗?")
        time = self._time("future", 0.4)
        base, _, _, question, chinese, _ = self._choose(lexicon.rows(lexicon.MODALS))
        if question == "Do":
            start = f"{'does' if s.is_third else 'do'} {s.nominative} {base}"
        else:
            start = f"{question.lower()} {s.nominative}"
        return (
            f"{start} {action.base}{place[0]}{time[0]}?",
            f"{s.chinese}{time[1]}{chinese}{place[1]}{action.chinese}吗?")

    def _open_question(self):
        s, action, time = self._person(), self._action(), self._time("past")
        form = self._choose(["who", "where", "why", "when", "is where", "quality"])
        if form == "who":
            place = self._place()
            return (
                f"who {action.past}{place[0]}{time[0]}?",
                f"谁{time[1]}{place[1]}{action.chinese_past}?")
        if form == "where":
            return (
                f"where did {s.nominative} {action.base}{time[0]}?",
                f"{s.chinese}{time[1]}在哪里{action.chinese_past}?")
        if form == "why":
            return (
                f"why did {s.nominative} {action.base}{time[0]}?",
                f"{s.chinese}{time[1]}为什么{action.chinese_past}?")
        if form == "when":
            return (
                f"when did {s.nominative} {action.base}?",
                f"{s.chinese}什么时候{action.chinese_past}?")
        if form == "quality":
            s, _, adjective = self._described()
            return (
                f"{s.be} {s.nominative} {adjective.english}?",
                f"{s.chinese}{adjective.chinese}吗?")
        noun = self._thing({"place", "text", "thing", "clothes", "animal"}, definite=True)
        return f"where {noun.be} {noun.nominative}?", f"{noun.chinese}在哪里?"

    def _request(self):
        action, place = self._action(), self._place()
        start, end, chinese, final = self._choose(
            [("please ", ".", "请", "。"), ("do not ", "!", "不要", "!"),
             ("let us ", ".", "让我们", "吧。")])
        return f"{start}{action.base}{place[0]}{end}", f"{chinese}{place[1]}{action.chinese}{final}"


CLAUSES = [
    Grammar._past, Grammar._past, Grammar._past, Grammar._habit, Grammar._habit, Grammar._progress,
    Grammar._modal, Grammar._modal, Grammar._state, Grammar._quality, Grammar._quality,
    Grammar._position, Grammar._possession, Grammar._gift, Grammar._journey, Grammar._identity,
]
SENTENCES = [
    *[Grammar._statement] * 6, Grammar._two_clauses, Grammar._two_clauses, Grammar._report,
    Grammar._question, Grammar._question, Grammar._open_question, Grammar._request,
]


def _capitalised(text):
    return text[:1].upper() + text[1:]
