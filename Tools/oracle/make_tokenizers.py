# SPDX-License-Identifier: Apache-2.0
"""Makes the tokenizers and chat templates that the tests use: Tests/Fixtures/tokenizers.

Each tokenizer is small, trained on text that comes with Python and on the sentences below, and
has exactly the pipeline and the kinds of added tokens of its model family. Each template directory
holds a tokenizer_config.json with the family's Jinja template, and goldens.json with what Jinja
renders.

Needs the packages tokenizers and jinja2. Run it from the root of the repository.
"""

import itertools
import json
import pathlib
import pydoc_data.topics

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2] / "Tests/Fixtures/tokenizers"
VOCABULARY_SIZE = 2000

SENTENCES = [
    "深度求索的模型把文字切成词元，再一个一个地预测下去。今天天气很好，我们去公园散步吧。",
    "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。人工智能正在改变世界的每一个角落。",
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。カタカナとひらがな。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "Все люди рождаются свободными и равными в своём достоинстве и правах.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. כל בני האדם נולדו בני חורין.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "Größe, Straße, naïve café, crème brûlée; ¿dónde está el niño? Źdźbło, İstanbul, Đà Nẵng.",
    "Emoji: 👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪 ❤️ 😀😃😄 and signs: ∑∫√ ≤≥≠ → ← ↑ ↓ € £ ¥ © ® ™ … – — “ ” ‘ ’",
    "for (int i = 0; i < 1024; ++i) {\n\tsum += data[i] * 3.14159;\n}\n\nreturn sum;\r\n",
    "I'm sure they've said we'll see; it's what she'd want, isn't it? 12345 67,890 2024-01-31",
]

BEGIN, END, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
TOOLS = [
    f"<｜tool▁{name}｜>"
    for name in [
        "calls▁begin", "calls▁end", "call▁begin", "call▁end", "outputs▁begin", "outputs▁end",
        "output▁begin", "output▁end", "sep",
    ]
]
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_PATTERN = QWEN2_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
DEEPSEEK_V3_PATTERN = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Characters that NFC would change are escaped.
DEEPSEEK_V2_LETTERS = (
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕ"
    "ἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭ"
    "ℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯ"
    "ꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+"
)


def corpus():
    """English of Python's manual, and the sentences often enough to be learnt."""
    topics = pydoc_data.topics.topics
    yield from (topics[name] for name in sorted(topics)[:40])
    for _ in range(40):
        yield from SENTENCES


def isolated(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def byte_level():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


PIPELINES = {
    "deepseek-v2": lambda: [
        isolated(r"[\r\n]"),
        isolated(DEEPSEEK_V2_LETTERS),
        isolated(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
        isolated(r"\s+$"),
        isolated("[一-龥ࠀ-一가-퟿]+"),
        pre_tokenizers.Digits(individual_digits=True),
        byte_level(),
    ],
    "deepseek-v3": lambda: [
        isolated(r"\p{N}{1,3}"),
        isolated("[一-龥぀-ゟ゠-ヿ]+"),
        isolated(DEEPSEEK_V3_PATTERN),
        byte_level(),
    ],
    "qwen2": lambda: [isolated(QWEN2_PATTERN), byte_level()],
    "llama3": lambda: [isolated(LLAMA3_PATTERN), byte_level()],
}


def train(pipeline, first=()):
    """A tokenizer with the pipeline; `first` are special tokens with the ids from 0."""
    tokenizer = Tokenizer(models.BPE())
    if pipeline == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(PIPELINES[pipeline]())
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE, special_tokens=list(first), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def special(*names):
    return [AddedToken(name, special=True, normalized=False) for name in names]


def ordinary(*names):
    """As DeepSeek marks its control tokens: neither special nor raw."""
    return [AddedToken(name, special=False, normalized=True) for name in names]


DEEPSEEK_CHAT = ["<｜User｜>", "<｜Assistant｜>", "<|EOT|>", *TOOLS]
LLAMA3_TOKENS = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>", "<|reserved_special_token_0|>",
]
ADDED = {
    "deepseek-v2": special(BEGIN, END),
    "deepseek-v3": ordinary(
        "<｜place▁holder▁no▁0｜>", "<｜place▁holder▁no▁1｜>", "<think>", "</think>",
        "<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>", *DEEPSEEK_CHAT),
    "qwen2": special("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    + [AddedToken("<tool_call>", special=False, normalized=False)],
    "llama3": special(*LLAMA3_TOKENS),
    "r1-distill-qwen": special(END)
    + [AddedToken(n, special=False, normalized=False) for n in ("<｜User｜>", "<｜Assistant｜>")]
    + special(BEGIN) + [AddedToken("<|EOT|>", special=False, normalized=False)]
    + [AddedToken(n, special=False, normalized=False) for n in ("<think>", "</think>")],
    "r1-distill-llama": special(BEGIN, END, *LLAMA3_TOKENS[2:])
    + [AddedToken(n, special=False, normalized=False)
       for n in ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>")],
}


def make_tokenizer(name):
    pipeline = {"r1-distill-qwen": "qwen2", "r1-distill-llama": "llama3"}.get(name, name)
    tokenizer = train(pipeline, [BEGIN, END, PAD] if name == "deepseek-v3" else ())
    for token in ADDED[name]:
        add = tokenizer.add_special_tokens if token.special else tokenizer.add_tokens
        add([token])
    document = json.loads(tokenizer.to_str())
    if pipeline == "llama3":
        # The first files of this family write merges as text, later ones as pairs.
        document["model"]["ignore_merges"] = True
        document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    write(ROOT / name / "tokenizer.json", document)


# --- Chat templates ------------------------------------------------------------------------------

NOT_ADDED = (
    "{% if not add_generation_prompt is defined %}"
    "{% set add_generation_prompt = false %}{% endif %}"
)
JOINED_SYSTEM = (
    "{%- for message in messages %}{%- if message['role'] == 'system' %}{%- if ns.is_first_sp %}"
    "{% set ns.system_prompt = ns.system_prompt + message['content'] %}"
    "{% set ns.is_first_sp = false %}{%- else %}"
    "{% set ns.system_prompt = ns.system_prompt + '\\n\\n' + message['content'] %}"
    "{%- endif %}{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system_prompt }}"
)
LAST_SYSTEM = (
    "{%- for message in messages %}{%- if message['role'] == 'system' %}"
    "{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}"
    "{{bos_token}}{{ns.system_prompt}}"
)
TOOL_OUTPUT = (
    "{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}"
    "{%- if ns.is_output_first %}{{'<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>' + "
    "message['content'] + '<｜tool▁output▁end｜>'}}{%- set ns.is_output_first = false %}{%- else %}"
    "{{'\\n<｜tool▁output▁begin｜>' + message['content'] + '<｜tool▁output▁end｜>'}}{%- endif %}"
    "{%- endif %}"
)


def v3_template(system, namespace, content, generation_prompt):
    """The common form of DeepSeek V2.5, V3 and R1; tool calls left out."""
    return (
        NOT_ADDED
        + "{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, "
        + namespace + ") %}" + system
        + "{%- for message in messages %}{%- if message['role'] == 'user' %}"
        "{%- set ns.is_tool = false -%}{{'<｜User｜>' + message['content']}}{%- endif %}"
        "{%- if message['role'] == 'assistant' and message['content'] is not none %}"
        "{%- if ns.is_tool %}{{'<｜tool▁outputs▁end｜>' + message['content'] + "
        "'<｜end▁of▁sentence｜>'}}{%- set ns.is_tool = false -%}{%- else %}" + content
        + "{%- endif %}{%- endif %}" + TOOL_OUTPUT
        + "{%- endfor -%}{% if ns.is_tool %}{{'<｜tool▁outputs▁end｜>'}}{% endif %}"
        "{% if add_generation_prompt and not ns.is_tool %}{{'" + generation_prompt
        + "'}}{% endif %}"
    )


V3_CONTENT = "{{'<｜Assistant｜>' + message['content'] + '<｜end▁of▁sentence｜>'}}"
R1_CONTENT = (
    "{% set content = message['content'] %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}"
)
LAST, FIRST_SP = "system_prompt=''", "system_prompt='', is_first_sp=true"
R1 = v3_template(LAST_SYSTEM, LAST, R1_CONTENT, "<｜Assistant｜><think>\\n")
V31 = (
    NOT_ADDED + "{% if not thinking is defined %}{% set thinking = false %}{% endif %}"
    "{% set ns = namespace(is_first=false, is_tool=false, system_prompt='', is_first_sp=true, "
    "is_last_user=false) %}" + JOINED_SYSTEM
    + "{%- for message in messages %}{%- if message['role'] == 'user' %}"
    "{%- set ns.is_tool = false -%}{%- set ns.is_first = false -%}"
    "{%- set ns.is_last_user = true -%}{{'<｜User｜>' + message['content']}}{%- endif %}"
    "{%- if message['role'] == 'assistant' and (message['tool_calls'] is not defined or "
    "message['tool_calls'] is none) %}{%- if ns.is_last_user %}{{'<｜Assistant｜>'}}"
    "{%- if message['prefix'] is defined and message['prefix'] and thinking %}{{'<think>'}}"
    "{%- else %}{{'</think>'}}{%- endif %}{%- endif %}{%- set ns.is_last_user = false -%}"
    "{%- if ns.is_tool %}{{message['content'] + '<｜end▁of▁sentence｜>'}}"
    "{%- set ns.is_tool = false -%}{%- else %}{%- set content = message['content'] -%}"
    "{%- if '</think>' in content %}{%- set content = content.split('</think>', 1)[1] -%}"
    "{%- endif %}{{content + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endif %}{%- endfor -%}"
    "{%- if add_generation_prompt and ns.is_last_user and not ns.is_tool %}{{'<｜Assistant｜>'}}"
    "{%- if not thinking %}{{'</think>'}}{%- else %}{{'<think>'}}{%- endif %}{% endif %}"
)
V2 = (
    NOT_ADDED + "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ 'User: ' + message['content'] + '\\n\\n' }}{% elif message['role'] == 'assistant' %}"
    "{{ 'Assistant: ' + message['content'] + eos_token }}{% elif message['role'] == 'system' %}"
    "{{ message['content'] + '\\n\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
QWEN2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
QWEN25 = (
    """{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. """
    """You are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) """
    """or (message.role == "assistant") %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ "
    "message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)

# Name: template, tokenizer, begin and end token.
TEMPLATES = {
    "deepseek-v2": (V2, "deepseek-v2", BEGIN, END),
    "deepseek-v2.5": (
        v3_template(LAST_SYSTEM, LAST, V3_CONTENT, "<｜Assistant｜>"), "deepseek-v3", BEGIN, END),
    "deepseek-v3": (
        v3_template(JOINED_SYSTEM, FIRST_SP, V3_CONTENT, "<｜Assistant｜>"),
        "deepseek-v3", BEGIN, END),
    "deepseek-r1": (R1, "deepseek-v3", BEGIN, END),
    "deepseek-r1-0528": (
        v3_template(JOINED_SYSTEM, FIRST_SP, R1_CONTENT, "<｜Assistant｜>"),
        "deepseek-v3", BEGIN, END),
    "deepseek-v3.1": (V31, "deepseek-v3", BEGIN, END),
    "qwen2": (QWEN2, "qwen2", None, "<|im_end|>"),
    "qwen2.5": (QWEN25, "qwen2", None, "<|im_end|>"),
    "llama3": (LLAMA3, "llama3", "<|begin_of_text|>", "<|eot_id|>"),
    "r1-distill-qwen": (R1, "r1-distill-qwen", BEGIN, END),
    "r1-distill-llama": (R1, "r1-distill-llama", BEGIN, END),
}

USER, ANSWER, SYSTEM = "user", "assistant", "system"
CONVERSATIONS = [
    [(USER, "Hello")],
    [(SYSTEM, "Be brief."), (USER, "What is 17 * 23?")],
    [(USER, "1+1?"), (ANSWER, "2"), (USER, " And 2+2? ")],
    [(SYSTEM, "A"), (SYSTEM, "B"), (USER, "你好，世界"), (ANSWER, "你好！\n"), (USER, "再见\n\n")],
    [(USER, "Why?"), (ANSWER, "<think>\nHm, 42</think> or not</think>\n\nBecause."), (USER, "Ok")],
    [(USER, "a"), (ANSWER, "b"), (ANSWER, "c"), (USER, "d"), (USER, "e")],
    [(USER, "\u3000 \x1c\tspaces around\u00a0\n"), (ANSWER, " \n"), (USER, "")],
    [(USER, "Continue"), (ANSWER, "The answer")],
    [(USER, "first"), (SYSTEM, "late system"), (USER, "second")],
]


def make_templates(name):
    template, tokenizer, begin, end = TEMPLATES[name]
    config = {
        "add_bos_token": begin is not None and name != "llama3",
        "add_eos_token": False,
        "bos_token": token_entry(begin) if "v3" in name else begin,
        "eos_token": token_entry(end) if "v3" in name else end,
        "chat_template": template,
        "tokenizer_class": "Qwen2Tokenizer" if "qwen2" in name else "LlamaTokenizerFast",
    }
    write(ROOT / "templates" / name / "tokenizer_config.json", config, indent=2)
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    program = environment.from_string(template)
    goldens = []
    thinking_modes = (None, False, True) if name == "deepseek-v3.1" else (None,)
    for turns, prompt, thinking in itertools.product(
            CONVERSATIONS, (True, False), thinking_modes):
        messages = [{"role": role, "content": content} for role, content in turns]
        options = {} if thinking is None else {"thinking": thinking}
        text = program.render(
            messages=messages, add_generation_prompt=prompt, bos_token=begin, eos_token=end,
            **options)
        goldens.append({
            "messages": messages, "add_generation_prompt": prompt, "thinking": thinking,
            "text": text})
    write(
        ROOT / "templates" / name / "goldens.json",
        {"tokenizer": tokenizer, "cases": goldens}, indent=1)


def token_entry(name):
    return {"__type": "AddedToken", "content": name, "lstrip": False, "normalized": True,
            "rstrip": False, "single_word": False}


def write(path, document, indent=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    separators = (",", ":") if indent is None else None
    path.write_text(
        json.dumps(document, ensure_ascii=False, indent=indent, separators=separators) + "\n")


if __name__ == "__main__":
    for tokenizer_name in ADDED:
        make_tokenizer(tokenizer_name)
    for template_name in TEMPLATES:
        make_templates(template_name)
