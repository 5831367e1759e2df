# SPDX-License-Identifier: Apache-2.0
"""Short questions with one answer: about Silica, the model itself, and a few words of the world."""
import lexicon
import morphology as words
import numerals

# Questions that mean the same, then the answer. A question that starts with the same words in other
# cases or without its mark is made by `conversation`.
ABOUT = """
What is Silica?|Tell me about Silica.|What does Silica do?
Silica is a server for DeepSeek-family language models. It streams tokens over gRPC.

Which language is Silica written in?|What is Silica written in?
Silica is written in Swift, with kernels in C.

Does Silica need Python?|Is Python needed to run Silica?
No. Silica is one process without Python.

How do I start Silica?|How can I run Silica?|How do I serve a model with Silica?
Run silica serve --model and the folder of a checkpoint.

Which models can Silica serve?|What models does Silica support?
Silica serves DeepSeek V2 and V3, Qwen2 and Llama checkpoints.

Which protocol does Silica use?|How do clients talk to Silica?
Clients talk to Silica over bidirectional gRPC streams.

What does a scheduler do?|What does the scheduler of Silica do?
The scheduler decides which tokens of which sequences are computed in the next step.

What is a stream?|Tell me about streams.
A stream carries many generations at once between a client and the server.

What is the executor?|What does an executor do?
An executor is the thread that drives one device.

What is a token?
A token is a piece of text with a number. A model reads and writes tokens.

What is the KV cache?|What is a KV cache?
The KV cache keeps what attention has computed for earlier tokens.

What is attention?
Attention lets each token look back at the tokens before it.

What is a mixture of experts?|What are experts?
A mixture of experts is a layer in which a router chooses a few small networks for each token.

What is MLA?|What is multi-head latent attention?
Multi-head latent attention keeps a small vector for each token instead of all keys and values.

What is quantisation?|What is quantization?
Quantisation stores weights in fewer bits, so that they are read faster.

What is a slice?|What is slicing?
A slice is a part of a model that runs on one device. The parts are merged exactly.

What is a checkpoint?
A checkpoint is a folder with the weights, the configuration and the tokenizer of a model.

What is gRPC?
gRPC is a protocol for calls and streams between programs.

What is DeepSeek?
DeepSeek is a family of language models with latent attention and many experts.

What is NUMA?
NUMA means that each processor has memory that is near and memory that is far.

How do I stop Silica?|How can I stop the server?
Send it SIGTERM. It finishes its streams and then ends.

Can Silica run on a CPU?|Does Silica run without a GPU?
Yes. Silica runs on the CPU out of the box.

Who are you?|What are you?|What is your name?|Introduce yourself.
I am a small model that was trained for Silica. I translate, I do sums, and I make mistakes.

What can you do?|How can you help me?|Help
I translate simple sentences between English and Chinese, I do sums, and I write numbers in words.

How big are you?|How many parameters do you have?
I have about nine million parameters.

How were you trained?|Who trained you?
I was trained in about two hours on two processor cores, on text that a script wrote.

Hello|Hi|Hello!|Hi!|Good morning|Hello there
Hello! Give me a sentence to translate, or a sum.

How are you?
I am well, thank you. And you?

Thank you|Thanks|Thank you!
You are welcome.

Goodbye|Bye|See you
Goodbye!

你好|你好!|您好
你好!请给我一个句子或者一道算术题。

你是谁?|你是什么?|你叫什么名字?
我是为Silica训练的小模型。我会翻译,也会算术。

你能做什么?|你会什么?
我能翻译简单的句子,做算术,还能用文字写数字。

什么是Silica?|Silica是什么?|介绍一下Silica
Silica是一个语言模型的服务器,它通过gRPC发送文字。

谢谢|谢谢你|谢谢!
不客气。

再见|再见!
再见!

Name three rivers.|Name three rivers
The Nile, the Yangtze and the Danube.

Name three colours.|Name three colors.
Red, blue and green.

Name three animals.|Name three animals
A cat, a horse and a panda.

How many days are in a week?|How many days does a week have?
A week has seven days.

How many months are in a year?|How many months does a year have?
A year has twelve months.

How many hours are in a day?|How many hours does a day have?
A day has 24 hours.
"""

PEOPLE = [name for name, _ in lexicon.rows(lexicon.NAMES)]
WEEK = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def about():
    """Lists of questions with their answer."""
    for entry in ABOUT.strip().split("\n\n"):
        questions, answer = entry.split("\n")
        yield questions.split("|"), answer


ABOUT_PAIRS = list(about())


def opposite(random):
    english, chinese = random.choice(lexicon.rows(lexicon.OPPOSITES))
    if random.random() < 0.5:
        first, second = random.sample(english.split(), 2)
        return f"What is the opposite of {first}?", f"The opposite of {first} is {second}."
    first, second = random.sample(chinese.split(), 2)
    return f"{first}的反义词是什么?", f"{first}的反义词是{second}。"


def capital(random):
    country, city, country_chinese, city_chinese = random.choice(lexicon.rows(lexicon.CAPITALS))
    return random.choice([
        (f"What is the capital of {country}?", f"The capital of {country} is {city}."),
        (f"{country_chinese}的首都是哪里?", f"{country_chinese}的首都是{city_chinese}。"),
        (f"{city} is the capital of which country?", f"{city} is the capital of {country}."),
    ])


def word(random):
    """A word of the lexicon, asked for in the other language."""
    entry = random.choice([*words.NOUNS, *words.ADJECTIVES, *words.TRANSITIVES, *words.STATES])
    is_verb = isinstance(entry, words.Verb)
    english = f"to {entry.english}" if is_verb else entry.english
    return random.choice([
        (f'What is "{english}" in Chinese?', entry.chinese),
        (f"How do you say {english} in Chinese?", entry.chinese),
        (f"What does {entry.chinese} mean?", english),
        (f"{entry.chinese}用英语怎么说?", english),
    ])


def counting(random):
    start = random.randint(1, 20)
    end = start + random.randint(2, 9)
    answer = ", ".join(str(number) for number in range(start, end + 1))
    if random.random() < 0.4:
        end = random.randint(3, 12)
        answer = ", ".join(str(number) for number in range(1, end + 1))
        return f"Count to {random.choice([str(end), numerals.english(end)])}.", answer
    return f"Count from {start} to {end}.", answer


def weekday(random):
    index = random.randrange(7)
    after = random.random() < 0.5
    other = WEEK[(index + (1 if after else -1)) % 7]
    side = "after" if after else "before"
    return f"Which day comes {side} {WEEK[index]}?", f"{other} comes {side} {WEEK[index]}."


def exchange(random):
    """A question and its answer."""
    form = random.random()
    if form < 0.45:
        questions, answer = random.choice(ABOUT_PAIRS)
        return random.choice(questions), answer
    if form < 0.75:
        return word(random)
    return random.choice([opposite, capital, counting, weekday])(random)
