# SPDX-License-Identifier: Apache-2.0
"""Arithmetic with its steps, as a person does it on paper: from the last digit to the first.

A problem has a question, the steps (what stands inside <think>) and the answer. Numbers are
written backwards in the steps where their digits are taken one by one, since a digit's carry is
known only then. One problem in ten is held out by its operands, and never part of training; but
those of two numbers below 20, which others are made of, are never held out.
"""
import dataclasses
import zlib


@dataclasses.dataclass(frozen=True)
class Problem:
    left: int
    operator: str
    right: int

    @property
    def result(self):
        return {"+": self.left + self.right, "-": self.left - self.right,
                "*": self.left * self.right}[self.operator]

    @property
    def is_held_out(self):
        key = f"{self.left}{self.operator}{self.right}"
        return max(self.left, self.right) >= 20 and zlib.crc32(key.encode()) % 10 == 0

    @property
    def steps(self):
        if self.operator == "+":
            return addition(self.left, self.right)
        if self.operator == "-":
            return subtraction(self.left, self.right)
        return multiplication(self.left, self.right)

    @property
    def answer(self):
        return f"{self.left} {self.operator} {self.right} = {self.result}"


def digit_pairs(left, right):
    """The digits of both, shorter numbers with zeros in front, from the last to the first."""
    width = max(len(str(left)), len(str(right)))
    return [
        (int(a), int(b))
        for a, b in zip(str(left).zfill(width)[::-1], str(right).zfill(width)[::-1])]


def backwards(pairs, side):
    return "".join(str(pair[side]) for pair in pairs)


def addition(left, right):
    pairs, carry, digits = digit_pairs(left, right), 0, ""
    lines = [f"backwards {backwards(pairs, 0)} + {backwards(pairs, 1)}"]
    for a, b in pairs:
        total = a + b + carry
        lines.append(f"{a}+{b}+{carry}={total} carry {total // 10}")
        carry, digits = total // 10, digits + str(total % 10)
    return lines + [f"backwards {digits}{carry}, so {left + right}"]


def subtraction(left, right):
    if left < right:
        return [f"{left} < {right}, so minus", *subtraction(right, left), f"minus {right - left}"]
    pairs, borrow, digits = digit_pairs(left, right), 0, ""
    lines = [f"backwards {backwards(pairs, 0)} - {backwards(pairs, 1)}"]
    for a, b in pairs:
        difference = a - b - borrow
        lift = f"+10={difference + 10}" if difference < 0 else ""
        lines.append(f"{a}-{b}-{borrow}={difference}{lift} borrow {int(difference < 0)}")
        borrow, digits = int(difference < 0), digits + str(difference % 10)
    return lines + [f"backwards {digits}, so {left - right}"]


def multiplication(left, right):
    lines, rows = [], []
    for power, digit in enumerate(str(right)[::-1]):
        carry = 0
        lines.append(f"{left}*{digit}, backwards {str(left)[::-1]}")
        for a in str(left)[::-1]:
            total = int(a) * int(digit) + carry
            lines.append(f"{a}*{digit}+{carry}={total} carry {total // 10}")
            carry = total // 10
        rows.append(left * int(digit) * 10**power)
        lines.append(f"so {left * int(digit)}{', ' + str(rows[-1]) if power else ''}")
    for index in range(1, len(rows)):
        lines += addition(sum(rows[:index]), rows[index])
    return lines


def number(random, digits):
    """A number of 1 to `digits` digits, each length as likely."""
    length = random.randint(1, digits)
    return random.randint(10 ** (length - 1) if length > 1 else 0, 10**length - 1)


def problem(random, held_out, operators):
    """A random problem: sums and differences of up to four digits, products of 99 * 99, 999 * 9."""
    while True:
        operator = random.choice(operators)
        if operator != "*":
            chosen = Problem(number(random, 4), operator, number(random, 4))
        elif random.random() < 0.5:
            chosen = Problem(number(random, 3), operator, number(random, 1))
        else:
            chosen = Problem(number(random, 2), operator, number(random, 2))
        if chosen.is_held_out == held_out:
            return chosen


WORDS = {"+": ("plus", "加"), "-": ("minus", "减"), "*": ("times", "乘")}


def question(random, problem):
    """The problem in one of the ways in which people ask."""
    a, b = problem.left, problem.right
    english, chinese = WORDS[problem.operator]
    sign = random.choice("*x×") if problem.operator == "*" else problem.operator
    gap = random.choice(["", " "])
    expression = f"{a}{gap}{sign}{gap}{b}"
    return random.choice([
        f"What is {expression}?", f"What is {expression}?", f"{expression} = ?", f"{expression}",
        f"Calculate {expression}.", f"Compute {expression}", f"How much is {a} {english} {b}?",
        f"What is {a} {english} {b}?", f"{a}{chinese}{b}等于多少?", f"{expression}等于多少?",
    ])
