# SPDX-License-Identifier: Apache-2.0
"""Numbers and dates in words, in English and Chinese."""
import datetime
import zlib

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen").split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
DIGITS = "零一二三四五六七八九"
MONTHS = ("January February March April May June July August September October November "
          "December").split()
DAYS = ("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
        "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth "
        "twentieth").split()
NUMBER_MAX = 99_999


def english(number):
    """`number` below a million: "four thousand two hundred and seventeen"."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (f"-{ONES[number % 10]}" if number % 10 else "")
    if number < 1000:
        rest = f" and {english(number % 100)}" if number % 100 else ""
        return f"{ONES[number // 100]} hundred{rest}"
    rest, thousands = number % 1000, f"{english(number // 1000)} thousand"
    if not rest:
        return thousands
    return f"{thousands}{' and' if rest < 100 else ''} {english(rest)}"


def chinese(number):
    """`number` below 100,000: 四千二百一十七; a gap between digits is one 零."""
    if number == 0:
        return DIGITS[0]
    text, gap = "", False
    for unit, name in ((10_000, "万"), (1_000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = number // unit % 10
        if digit:
            text += ("零" if gap else "") + DIGITS[digit] + name
        gap = bool(text) and not digit
    return text.removeprefix("一") if 10 <= number < 20 else text


def english_date(date):
    day = date.day
    if day <= 20:
        ordinal = DAYS[day - 1]
    elif day == 30:
        ordinal = "thirtieth"
    else:
        ordinal = f"{TENS[day // 10]}-{DAYS[day % 10 - 1]}"
    return f"the {ordinal} of {MONTHS[date.month - 1]} {date.year}"


def chinese_date(date):
    year = "".join(DIGITS[int(digit)] for digit in str(date.year))
    return f"{year}年{chinese(date.month)}月{chinese(date.day)}日"


def is_held_out(text):
    return zlib.crc32(text.encode()) % 10 == 0


def exchange(random, held_out=False):
    """A question about a number or a date, and its answer."""
    while True:
        if random.random() < 0.6:
            value = random.randint(0, 10 ** random.randint(1, len(str(NUMBER_MAX))) - 1)
            key, words, characters = str(value), english(value), chinese(value)
        else:
            date = datetime.date(1900, 1, 1) + datetime.timedelta(random.randrange(73_000))
            key, words, characters = date.isoformat(), english_date(date), chinese_date(date)
        if is_held_out(key) == held_out:
            break
    what = "number" if key.isdigit() else "date"
    return random.choice([
        (f"Write {key} in words.", words), (f"Write the {what} {key} in English words.", words),
        (f"Write {key} in Chinese.", characters), (f"用中文写{key}", characters),
        (f"Write {words} in digits.", key), (f"用数字写{characters}", key),
    ])
