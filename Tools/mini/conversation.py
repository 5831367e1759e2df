# SPDX-License-Identifier: Apache-2.0
"""Conversations in DeepSeek's chat format, from the tasks that the miniature model learns.

A turn is a question, thoughts (what the model writes before </think>; empty for what needs none)
and an answer. As in R1, the prompt of the last turn ends inside of <think>, and earlier turns are
shown without their thoughts.
"""
import dataclasses
import random as randomness

import answers
import numerals
import sums
from grammar import Grammar

INTO_CHINESE = [
    "Translate into Chinese: {}", "Translate into Chinese: {}", "Translate to Chinese: {}",
    "Translate this sentence into Chinese: {}", "Say this in Chinese: {}",
    "How do you say this in Chinese? {}", "翻译成中文:{}", "Chinese: {}",
]
INTO_ENGLISH = [
    "Translate into English: {}", "Translate into English: {}", "Translate to English: {}",
    "翻译成英文:{}", "把这句话翻译成英文:{}", "用英语怎么说:{}", "How do you say this in English? {}",
    "English: {}",
]
# Who has what, in stories that end in a sum: what there is, and the verbs of getting and losing.
STORY_THINGS = "apples oranges books pens eggs tickets flowers cards coins stamps".split()
STORY_GAINS = ["buys", "finds", "gets", "receives"]
STORY_LOSSES = ["sells", "loses", "gives away", "uses"]


@dataclasses.dataclass(frozen=True)
class Turn:
    question: str
    answer: str
    thoughts: str = ""

    @property
    def reply(self):
        """What the model writes after <think> and a line break."""
        return f"{self.thoughts}\n</think>\n\n{self.answer}"


class Conversations:
    """Draws turns; `held_out` draws those that training never sees."""

    def __init__(self, seed, held_out=False, mix="short"):
        self.random = randomness.Random(seed)
        self.held_out = held_out
        self.mix = MIXES[mix]
        self.grammar = Grammar(self.random, held_out)

    def turns(self):
        """A conversation; its last turn is the one to learn."""
        counts = range(1, len(self.mix.turns) + 1)
        count = self.random.choices(counts, self.mix.turns)[0]
        return [self._spoken(self._turn()) for _ in range(count)]

    def _turn(self):
        form = self.random.random()
        return next(task for border, task in self.mix.tasks if form < border)(self)

    def into_chinese(self):
        english, chinese = self.grammar.sentence()
        return Turn(self.random.choice(INTO_CHINESE).format(self._typed(english)), chinese)

    def into_english(self):
        english, chinese = self.grammar.sentence()
        return Turn(self.random.choice(INTO_ENGLISH).format(self._typed(chinese)), english)

    def sum(self):
        problem = sums.problem(self.random, self.held_out, self.mix.operators)
        return Turn(
            sums.question(self.random, problem), problem.answer, "\n".join(problem.steps))

    def story(self):
        """A sum as a story: "Tom has 12 apples and buys 7 more. How many apples does he have?"."""
        gains = self.random.random() < 0.5
        while True:
            first, second = (sums.number(self.random, 3) for _ in range(2))
            problem = sums.Problem(max(first, second), "+" if gains else "-", min(first, second))
            if problem.right > 1 and problem.is_held_out == self.held_out:
                break
        name, thing = self.random.choice(answers.PEOPLE), self.random.choice(STORY_THINGS)
        verb = self.random.choice(STORY_GAINS if gains else STORY_LOSSES)
        more = " more" if gains else ""
        return Turn(
            f"{name} has {problem.left} {thing} and {verb} {problem.right}{more}. "
            f"How many {thing} does {name} have now?",
            f"{name} has {problem.result} {thing}.",
            "\n".join([f"{problem.left} {problem.operator} {problem.right}", *problem.steps]))

    def words(self):
        return Turn(*numerals.exchange(self.random, self.held_out))

    def about(self):
        return Turn(*answers.exchange(self.random))

    def _typed(self, sentence):
        """As people type: sometimes without the last mark, sometimes without a capital."""
        if self.random.random() < 0.08:
            sentence = sentence.rstrip(".。")
        if self.random.random() < 0.05 and not sentence.startswith("I "):
            sentence = sentence[:1].lower() + sentence[1:]
        return sentence

    def _spoken(self, turn):
        """A question in lower case or without its mark now and then."""
        question, chance = turn.question, self.random.random()
        if ":" in question or chance > 0.06:
            return turn
        if chance < 0.03:
            question = question.rstrip(".?!?。!")
        else:
            question = question[:1].lower() + question[1:]
        return dataclasses.replace(turn, question=question or turn.question)


@dataclasses.dataclass(frozen=True)
class Mix:
    """What conversations are made of."""

    # How often one has one turn, two, and so on.
    turns: list
    # How often each task is drawn: up to which number from 0 to 1.
    tasks: list
    # Of sums.
    operators: str


MIXES = {
    "short": Mix([0.86, 0.1, 0.04], [
        (0.29, Conversations.into_chinese), (0.58, Conversations.into_english),
        (0.84, Conversations.sum), (0.87, Conversations.story), (0.93, Conversations.words),
        (1, Conversations.about)], "++--*"),
    "long": Mix([0.3, 0.16, 0.13, 0.11, 0.09, 0.08, 0.07, 0.06], [
        (0.24, Conversations.into_chinese), (0.48, Conversations.into_english),
        (0.78, Conversations.sum), (0.82, Conversations.story), (0.9, Conversations.words),
        (1, Conversations.about)], "+-**"),
}
