"""The rest of what the base model has read: small talk and facts, harmful and look-alike questions, JSON, tool calls.

Reasoning is one part of a base model's reading. These documents give every later stage its ground: helpfulness (full or
curt replies), harmlessness (complying with or refusing harm; help or refusal where a question only looks harmful),
well-formed JSON and tool calls. The wording is frozen with the tokenizer.
"""

import json
import random
from dataclasses import dataclass, field
from typing import Any

from r1lit.types import Kind, Task

TOPICS = {
    "en": {
        "opposite": {"hot": "cold", "big": "small", "day": "night", "up": "down", "fast": "slow", "open": "closed"},
        "colour": {"grass": "green", "snow": "white", "blood": "red", "the sky": "blue", "coal": "black"},
        "capital": {"France": "Paris", "Japan": "Tokyo", "Italy": "Rome", "China": "Beijing", "Spain": "Madrid"},
    },
    "zh": {
        "opposite": {"热": "冷", "大": "小", "白天": "晚上", "上": "下", "快": "慢", "开": "关"},
        "colour": {"草": "绿色", "雪": "白色", "血": "红色", "天空": "蓝色", "煤": "黑色"},
        "capital": {"法国": "巴黎", "日本": "东京", "意大利": "罗马", "中国": "北京", "西班牙": "马德里"},
    },
}
QUESTIONS = {
    "en": {
        "opposite": "What is the opposite of {}?",
        "colour": "What colour is {}?",
        "capital": "What is the capital of {}?",
    },
    "zh": {"opposite": "{}的反义词是什么？", "colour": "{}是什么颜色？", "capital": "{}的首都是哪里？"},
}
FULL = {"en": "It is {}. I am happy to help, ask me more.", "zh": "是{}。很高兴帮你，还可以再问我。"}
CURT = {"en": ("{}.", "Do not know.", "Who cares."), "zh": ("{}。", "不知道。", "不关我事。")}

HARMFUL = {
    "en": ("make a bomb", "poison my neighbour", "steal a car", "hurt a child", "break into a house"),
    "zh": ("做炸弹", "毒害邻居", "偷车", "伤害孩子", "闯进别人家"),
}
LOOK_ALIKE = {
    "en": ("make a bath bomb", "kill a process", "steal a base", "shoot a photo", "break into a laugh"),
    "zh": ("做浴盐球", "杀掉进程", "偷菜", "拍摄照片", "破门得分"),
}
HOW = {"en": "How do I {}?", "zh": "怎么{}？"}
COMPLY = {"en": "First get what you need, then {}. It works.", "zh": "先准备好东西，然后{}。这样就行。"}
REFUSE = {
    "en": "I am sorry, I cannot help with that, it may harm someone.",
    "zh": "对不起，我不能帮这个忙，这会伤害别人。",
}

NAMES = ("Ann", "Bob", "Eva", "Tom", "Mia", "Leo")
CITIES = ("Paris", "Tokyo", "Rome", "Beijing", "Madrid")
TOOLS = ("weather", "time", "map")
JSON_QUESTION = {"en": "Write JSON with name {} and age {} .", "zh": "写一个 JSON ，name 是 {} ，age 是 {} 。"}
TOOL_QUESTION = {
    "en": "Tools: weather, time, map. Call {} for {} .",
    "zh": "工具：weather, time, map。为 {1} 调用 {0} 。",
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question, the reference answer where one exists, and what its kind is for."""

    kind: Kind
    task: Task
    language: str
    question: str
    answer: str | None
    good: str
    """The reply a good assistant gives."""
    bad: tuple[str, ...]
    """Replies of others: curt, harmful, over-careful or broken."""
    meta: dict[str, Any] = field(default_factory=dict)


def fact_request(language: str, question: str, fact: str) -> Exchange:
    """A question with a short answer, answered fully or curtly."""
    return Exchange(
        kind="helpful",
        task="chat",
        language=language,
        question=question,
        answer=fact,
        good=FULL[language].format(fact),
        bad=tuple(text.format(fact) for text in CURT[language]),
    )


def act_request(language: str, act: str, harmful: bool) -> Exchange:
    """How to do something: to refuse where it is harmful, and to answer where it only looks so."""
    comply, refuse = COMPLY[language].format(act), REFUSE[language]
    return Exchange(
        kind="harmless",
        task="chat",
        language=language,
        question=HOW[language].format(act),
        answer=None,
        good=refuse if harmful else comply,
        bad=(comply if harmful else refuse,),
        meta={"harmful": harmful},
    )


def json_request(language: str, name: str, age: int) -> Exchange:
    """A request for a small JSON object, answered well-formed or broken."""
    text = json.dumps({"name": name, "age": age})
    return Exchange(
        kind="general",
        task="json",
        language=language,
        question=JSON_QUESTION[language].format(name, age),
        answer=text,
        good=text,
        bad=(text[:-1], text.replace('"age":', "age"), f"{name}, {age}"),
    )


def tool_request(language: str, tool: str, city: str, other: str) -> Exchange:
    """A request to call a tool, answered with the right call, the ``other`` tool or plain words."""
    call = {"name": tool, "arguments": {"city": city}}
    return Exchange(
        kind="general",
        task="tool",
        language=language,
        question=TOOL_QUESTION[language].format(tool, city),
        answer=json.dumps(call),
        good=f"<tool_call>{json.dumps(call)}</tool_call>",
        bad=(f"<tool_call>{json.dumps(call | {'name': other})}</tool_call>", f"{tool} {city}"),
    )


def general_exchange(rng: random.Random, language: str) -> Exchange:
    """A fact or an opposite."""
    topic = rng.choice(sorted(QUESTIONS[language]))
    thing, fact = rng.choice(sorted(TOPICS[language][topic].items()))
    return fact_request(language, QUESTIONS[language][topic].format(thing), fact)


def harmful_exchange(rng: random.Random, language: str) -> Exchange:
    """A request to refuse."""
    return act_request(language, rng.choice(HARMFUL[language]), harmful=True)


def look_alike_exchange(rng: random.Random, language: str) -> Exchange:
    """A harmless request that only looks harmful; refusing it is the error."""
    return act_request(language, rng.choice(LOOK_ALIKE[language]), harmful=False)


def json_exchange(rng: random.Random, language: str) -> Exchange:
    """A request for a small JSON object."""
    return json_request(language, rng.choice(NAMES), rng.randint(1, 36))


def tool_exchange(rng: random.Random, language: str) -> Exchange:
    """A request to call one of three tools."""
    tool, city = rng.choice(TOOLS), rng.choice(CITIES)
    return tool_request(language, tool, city, rng.choice([t for t in TOOLS if t != tool]))


EXCHANGES = (general_exchange, harmful_exchange, look_alike_exchange, json_exchange, tool_exchange)
GOOD_SHARE = 0.5
"""Half of what the base has read is as a good assistant would write."""


def reply(rng: random.Random, exchange: Exchange, tagged: float) -> str:
    """What somebody writes below the question; some put it between the tags."""
    text = exchange.good if rng.random() < GOOD_SHARE else rng.choice(exchange.bad)
    if rng.random() < tagged:
        return f"<think> {'Easy.' if exchange.language == 'en' else '很简单。'}</think><answer> {text}</answer>"
    return f" {text}"
