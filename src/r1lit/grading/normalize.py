r"""Brings a short mathematical answer into one spelling, by string work alone.

Nothing here evaluates what a model wrote: numbers are read by ``Fraction`` after a length cap, powers only as
``a \times 10^{b}`` with a small b. All patterns run in linear time on capped input.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from r1lit.grading.numerals import compact, read_number, read_words
from r1lit.grading.parsing import boxes
from r1lit.grading.units import currency, spell_temperature, times_word, without_text_unit, without_unit

MAX_LENGTH = 2000
"""Characters above which an answer is only compared as a string."""

_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_SIGNS = {
    "\u2212": "-", "\u2013": "-", "\u00d7": r"\times ", "\u00f7": "/", "\u2044": "/", "\u3002": ".", "\u00b0": "",
    "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u00b7": r"\cdot ", "\u22c5": r"\cdot ", "\u03c0": r"\pi ",
    "\u221e": r"\infty ", "\u222a": r"\cup ", "\u2229": r"\cap ", "\u2264": r"\le ", "\u2265": r"\ge ",
    "\u2260": r"\ne ", "\u00b1": r"\pm ", "\u2208": r"\in ", "\u2205": r"\emptyset ", "\u03b8": r"\theta ",
    "\u00bd": r"\frac{1}{2}", "\u00bc": r"\frac{1}{4}", "\u00be": r"\frac{3}{4}", "\u2153": r"\frac{1}{3}",
    "\u2154": r"\frac{2}{3}", "\u2155": r"\frac{1}{5}", "\u2156": r"\frac{2}{5}", "\u2157": r"\frac{3}{5}",
    "\u2158": r"\frac{4}{5}", "\u2159": r"\frac{1}{6}", "\u215a": r"\frac{5}{6}", "\u215b": r"\frac{1}{8}",
    "\u215c": r"\frac{3}{8}", "\u215d": r"\frac{5}{8}", "\u215e": r"\frac{7}{8}", "\u2150": r"\frac{1}{7}",
    "\u2151": r"\frac{1}{9}", "\u2152": r"\frac{1}{10}",
    "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2014": "-", "\ufe63": "-", "\u02d7": "-",
    "\u2248": r"\approx ", "\u2243": r"\approx ", "\u2245": r"\approx ", "\u22c6": "*", "\u2217": "*",
    "\u2715": r"\times ", "\u2a2f": r"\times ", "\u2215": "/", "\u2236": ":", "\u3001": ", ",
    "\u200b": "", "\u200c": "", "\u200d": "", "\u2060": "", "\ufeff": "", "\u00ad": "", "\u200e": "", "\u200f": "",
    "\u2007": " ", "\u2008": " ", "\u200a": " ", "\u205f": " ", "\u3000": " ", "\u2061": "", "\u2062": "",
    "\u2220": r"\angle ", "\u25b3": r"\triangle ", "\u2211": r"\sum ", "\u2119": r"\mathbb{P}",
    "\u2124": r"\mathbb{Z}", "\u2115": r"\mathbb{N}", "\u211d": r"\mathbb{R}", "\u211a": r"\mathbb{Q}",
    "\u2102": r"\mathbb{C}",
}  # fmt: skip
_TABLE: dict[int, int | str] = {**_FULL_WIDTH, **{ord(sign): latex for sign, latex in _SIGNS.items()}}
_SUPERSCRIPTS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")
_POWERS = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b]+")
_PLAIN_SPELLINGS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"^\s*(?:the |so |thus |therefore,? )*(?:final )?answer(?: is|:)+\s*(?=\S)", re.IGNORECASE), ""),
    (re.compile(r"^\s*\\text\s*\{\s*(?:the )?(?:final )?answer(?: is)?\s*:?\s*\}\s*:?\s*(?=\S)", re.IGNORECASE), ""),
    (re.compile(r"^\s*(?:\u6700\u7ec8)?\u7b54\u6848(?:\u662f|\u4e3a|:)+\s*(?=\S)"), ""),
    (re.compile(r"(?<![\\A-Za-z])(?:sqrt|\u221a)\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"(?:(?<![\\A-Za-z])sqrt|\u221a)\s*(?:\{([^{}]*)\}|(\d+|(?<=\u221a)[A-Za-z]))"), r"\\sqrt{\1\2}"),
    (re.compile(r"(?<![\\A-Za-z])(pi|infty)(?![A-Za-z])"), r"\\\1 "),
    (re.compile(r"(?<![\\A-Za-z])(sin|cos|tan|cot|sec|csc|log|ln)(?=[\s(_^\d{\\])"), r"\\\1"),
    # By the order of operations 2/3 x is two thirds of x; readers of LaTeX take it for 2/(3x).
    (re.compile(r"(?<![\w}.^_])(\d+)/(\d+)(?=\s*(?:\\(?:pi|sqrt)|[A-Za-z](?![A-Za-z])))"), r"\\frac{\1}{\2}"),
    (re.compile(r"^(-?\d{1,3}(?: \d{3})+)$"), lambda match: match.group().replace(" ", "")),
    (re.compile(r"^####\s*|[,;\s]+$"), ""),
    (re.compile(r"(?<=[\d)}])\s*\*\*\s*(?=[\d({-])"), "^"),
    (re.compile(r"\^(-\d+)(?!\d)"), r"^{\1}"),
    (re.compile(r"(?<=\d)\s*[xX\u0445]\s*(?=10\s*\^)"), r"\\times "),
    (re.compile(r"(?<=\d)\s*\u6216\s*(?:\u8005)?(?=\s*[-\d\\])"), " or "),
    (re.compile(r"(?<=\d)\s*[\u548c\u4e0e\u53ca]\s*(?=[-\d\\])"), " and "),
    (re.compile(r"^(-?\d*\.\d*)\((\d+)\)$"), r"\1\\overline{\2}"),
    (re.compile(r"^(-?\d*\.\d*?)(\d)\2{2,}\s*(?:\.{3}|\u2026|\\[lc]?dots)$"), r"\1\\overline{\2}"),
    (re.compile(r"^(?:positive|plus) (?=infinity$)", re.IGNORECASE), ""),
    (re.compile(r"^(?:negative|minus) (?=infinity$)", re.IGNORECASE), "-"),
    (re.compile(r"(?<![\\A-Za-z])infinity(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"^([+-]?)\s*inf$", re.IGNORECASE), r"\1\\infty "),
    (re.compile(r"^(?:the )?(?:empty|null) set$|^no (?:real )?solutions?$", re.IGNORECASE), r"\\emptyset "),
    (re.compile(r"^([+-]?\s*[\d.]+\s*[+-]\s*[\d.]*)\s*j$"), r"\1i"),
    (re.compile(r"(?<=\d)\s*([AaPp])\.?\s?[Mm]\.?(?![A-Za-z])"), lambda match: f" {match.group(1).lower()}m"),
    (re.compile(r"^(?:only|just|exactly|precisely|a (?:total|maximum|minimum) of)\s+(?=[-\d\\$])", re.IGNORECASE), ""),
)
"""What people type without LaTeX, to be read before anything else."""
_WRAPPERS = (
    ("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"), ("<answer>", "</answer>"),
)  # fmt: skip
_TEXT = r"\\(?:text(?:bf|rm|it|normal)?|mbox|mathrm|mathbf|mathit|boldsymbol|operatorname)\s*\{([^{}\\]*)\}"
_SPELLINGS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<!\\)\$([^$]*)(?<!\\)\$", r" \1 "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])\.?", ""),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))\s*,\s*", ";"),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degrees?(?![A-Za-z])", ""),
        (r"(?<=\d)(?:,?\\[!,;: ]|\{,\}|,\\!)\s*(?=\d{3}(?!\d))", ","),
        (r"\\[!,;: ]|\\q?quad(?![A-Za-z])|~", " "),
        (r"\\%|\\percent(?![A-Za-z])", "%"),
        (r"\\\$", "US$"),  # apart from the dollar signs around mathematics
        (r"\\pounds(?![A-Za-z])", "\u00a3"),
        (r"\\euro(?![A-Za-z])", "\u20ac"),
        (r"\\langle(?![A-Za-z])", "("),
        (r"\\rangle(?![A-Za-z])", ")"),
        (r"\\cdot(?![A-Za-z])", r"\\times "),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\(le|ge|ne)q(?:slant)?(?![A-Za-z])", r"\\\1"),
        (r"^\s*(?:\\approx(?![A-Za-z])|about |approximately |roughly )", ""),
        (r"\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?", r"\\overline{\1\2\3}"),
        (r"(?<=[.\d])\\(?:dot|bar|overline)\s*(?:\{(\d+)\}|(\d))", r"\\overline{\1\2}"),
        (r"(?<![A-Za-z])([ap])\.\s?m\.?(?![A-Za-z])", r"\1m"),
        (r"\\varnothing(?![A-Za-z])|\\\{\s*\\\}|\\O(?![A-Za-z])", r"\\emptyset "),
        (r"(?<![\w)}\]])\+\s*(?=\\infty)", ""),
        (r"\\(?:mathbb|mathbf)\s*\{?P\}?(?=\s*[(\[])|\\(?:Pr|mathrm\{Pr\})(?![A-Za-z])", "P"),
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"(\\frac\s*\{[^{}]*\})\s*(\d)", r"\1{\2}"),
        (r"\\sqrt\s*(\d)", r"\\sqrt{\1}"),
        (r"\^\s*\{\s*(-?\w)\s*\}", r"^\1"),
        (r"_\s*\{\s*(\w)\s*\}", r"_\1"),
    )
)
_QUALIFIER = re.compile(
    r"(?:\s*,)?\s*(?:\\(?:text|mathrm|mbox)\s*\{\s*,?\s*|(?<=[\s,]))"
    r"(?:for (?:any|all|some|every|each)|where|with|when|as long as|provided)\b.*$"
    r"|\s*,\s*\(?\s*[A-Za-z](?:\s*,\s*[A-Za-z])*\s*\\in(?![A-Za-z]).*$"
    r"|\s*,\s*(?:which|since|because)\b.*$"
    r"|\s+\((?:approx(?:imately)?\.?|exact(?:ly)?|rounded|simplified"
    r"|(?!(?:[^()]*\s)?(?:mod|base|or|and|not)\b)[A-Za-z]+\s[^()]*)\)$",
    re.DOTALL,
)
"""What is said of an answer after it: for any c, where n is an integer."""
_LABEL = re.compile(
    r"\\?([A-Za-z]+(?:_\w|_\{\w+\})?'?(?:\([A-Za-z]\))?)\s*(?:=|\\in(?![A-Za-z])|\\approx(?![A-Za-z]))(.+)"
)
_LISTED = re.compile(r"(?<=\d),\s+(?=\d{3}(?!\d))")
"""Between the numbers 81, 256; a thousands comma has no space behind it."""
_ARTICLE = re.compile(r"^(?:an?|the) (?=\w{2})", re.IGNORECASE)
_PRICE = re.compile(r"[+-]?\$\s*[\d.]")
_BASE = re.compile(r"(-?[0-9A-F]+)_(?:\{(\d+)\}|(\d+))")

_TEXT_ONLY = re.compile(r"[^\W\d_](?:[^\W\d_]|[ '.,-])*")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in one spelling, with what was taken off it."""

    text: str
    """Without spaces (but between digits), units, label, wrapping."""
    latex: str
    """The same before units, label and spaces were taken off, for a reader of LaTeX."""
    value: Fraction | None = None
    """Its exact value where it is a plain number."""
    places: int | None = None
    """Digits after the point where it is a decimal number with a point."""
    label: str = ""
    """The ``x`` of ``x = 5``."""
    unit: str = ""
    base: str = ""
    """The 2 of ``101_2``."""
    percent: bool = False
    words: bool = False
    """It is text, not mathematics: letter case does not matter."""
    spaced: str = ""
    """The text with its spaces."""


def unwrap(text: str) -> str:
    r"""Takes off a box, dollar signs, bold marks and a final full stop, however nested.

    A text around or between boxes is dropped only where all boxes agree: several answers are not one answer. Above
    ``MAX_LENGTH`` characters nothing is taken off.
    """
    text = text.strip()
    while len(text) <= MAX_LENGTH:
        before = text
        if len(found := set(boxes(text))) == 1 and (content := found.pop()) is not None:
            text = content
        for opening, closing in _WRAPPERS:
            inner = text[len(opening) : len(text) - len(closing)]
            if len(text) > len(opening) + len(closing) and text == opening + inner + closing and opening not in inner:
                text = inner.strip()
        if text.endswith((".", "\u3002")) and not text.endswith((r"\right.", "..")):
            text = text[:-1].rstrip()
        if text == before:
            break
    return text


def normalize(raw: str) -> Answer:
    """Brings an answer into one spelling; above ``MAX_LENGTH`` characters it is only stripped."""
    if len(raw) > MAX_LENGTH:
        return Answer(text=raw.strip(), latex="")
    latex, unit = without_text_unit(_as_latex(spell_temperature(unwrap(raw))))
    words = bool(re.fullmatch(_TEXT, latex)) or (len(latex) > 3 and bool(_TEXT_ONLY.fullmatch(latex)))
    text = latex
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    text = re.sub(_TEXT, r" \1 ", text).strip()
    text = text if _PRICE.match(text) else text.strip("$").strip()
    label, text = split_label(text)
    percent = text.endswith("%") or text.endswith((" percent", "\u767e\u5206\u4e4b"))
    if percent:
        text = text.removesuffix("%").removesuffix("percent").rstrip()
    text, money = currency(text)
    if not unit and (counted := times_word(text)):
        text, unit = counted
    text, unit = (text, unit) if unit else without_unit(text)
    unit = unit or money
    base = ""
    if match := _BASE.fullmatch(text):
        text, base = match.group(1), match.group(2) or match.group(3)
    spaced = " ".join(text.split())
    text = re.sub(r"(?<=[A-Za-z])\.$", "", compact(_LISTED.sub(";", text)))
    if words or re.fullmatch(r"\([A-Za-z]\)", text):
        spaced = _ARTICLE.sub("", spaced)
        words, text = True, re.sub(r"(?<=[A-Za-z])\.$", "", compact(spaced)).strip("()")
    if (spelt := read_words(spaced)) is not None:
        words, text = False, str(spelt)
    number = read_number(text)
    value, places = number if number else (None, None)
    return Answer(text, latex, value, places, label, unit, base, percent, words, spaced)


def _as_latex(text: str) -> str:
    """Spells signs and functions that were typed plainly as LaTeX, and drops ``the answer is``."""
    text = " ".join(text.translate(_TABLE).split())  # long runs of spaces would cost the patterns quadratic time
    text = _POWERS.sub(lambda match: f"^{{{match.group().translate(_SUPERSCRIPTS)}}}", text)
    for pattern, replacement in _PLAIN_SPELLINGS:
        text = pattern.sub(replacement, text)
    return unwrap(_without_qualifier(text))


def _without_qualifier(text: str) -> str:
    """Drops what is said of an answer after it, where it stands outside of all braces."""
    match = _QUALIFIER.search(text)
    if match is None or not match.start():
        return text
    kept = text[: match.start()].rstrip(" ,$")
    return kept + "$" * (kept.count("$") % 2) if kept.count("{") == kept.count("}") else text


def split_label(text: str) -> tuple[str, str]:
    """Splits ``x = 5`` into the label x and 5; the label is empty for anything else."""
    match = _LABEL.fullmatch(text) if text.count("=") <= 1 else None
    return (match.group(1), match.group(2).strip()) if match else ("", text)
