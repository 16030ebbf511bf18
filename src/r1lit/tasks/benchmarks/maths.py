"""Benchmarks with a number or an expression for an answer, judged by ``AccuracyReward``: AIME, MATH, GSM8K, MGSM."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from r1lit.errors import InputError
from r1lit.grading.parsing import last_boxed
from r1lit.tasks.benchmarks.source import BenchmarkPrompts, Row
from r1lit.tasks.files import delimiter_of, first_cells
from r1lit.types import Prompt

REQUEST = "{question}\n\nWork through the problem step by step, and put your final answer within \\boxed{}."
"""The paper's maths prompt (second version, Table 32) in our words."""
REQUESTS: Mapping[str, str] = {
    "en": REQUEST,
    "zh": "{question}\n\n请逐步推理，并把最终答案写在 \\boxed{} 中。",
    "ja": "{question}\n\n順を追って考え、最終的な答えを \\boxed{} の中に書いてください。",
    "fr": "{question}\n\nRaisonne étape par étape et donne ta réponse finale dans \\boxed{}.",
    "de": "{question}\n\nDenke Schritt für Schritt nach und schreibe deine endgültige Antwort in \\boxed{}.",
    "es": "{question}\n\nRazona paso a paso y escribe la respuesta final dentro de \\boxed{}.",
    "ru": "{question}\n\nРассуждай шаг за шагом и запиши окончательный ответ в \\boxed{}.",
}
"""The same by language."""
_FINAL = re.compile(r"####\s*(.+?)\s*$", re.MULTILINE)
_MARKS = re.compile(r"<<[^<>]*>>")
_NUMBER = re.compile(r"[-+]?\$?\d[\d,]*(?:\.\d+)?")


class MathPrompts(BenchmarkPrompts):
    """Problems with a final answer; see ``BenchmarkPrompts`` for the arguments."""

    benchmark = "math"
    template = REQUEST
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "question": ("problem", "question", "prompt", "input", "text"),
        "answer": ("answer", "final_answer", "expected_answer", "gold", "target", "ground_truth", "label"),
        "solution": ("solution", "rationale", "explanation"),
        "id": ("unique_id", "id", "problem_id", "key"),
    }
    optional = frozenset({"id", "solution", "answer"})

    def build(self, row: Row, prompt_id: str, shots: str) -> Prompt:
        """A prompt of task ``math``."""
        return Prompt(
            prompt_id,
            self.messages(row, shots),
            self.gold(row),
            language=self.language(row),
            source=row.source,
            meta=row.rest("question", "answer", "id"),
        )

    def language(self, row: Row) -> str:
        """Of the question and of the reasoning that is asked for."""
        return "en"

    def gold(self, row: Row) -> str:
        """The reference answer: the answer's column, or the box that ends the solution.

        Raises:
            InputError: If there is neither.
        """
        if row.get("answer") is not None:
            text = row.text("answer").strip()
            boxed = last_boxed(text)
            return text if boxed is None else boxed
        boxed = last_boxed(row.text("solution")) if row.get("solution") is not None else None
        if not boxed:
            raise row.error("answer", "there is no answer and no \\boxed{...} in a solution to take it from")
        return boxed

    def worked(self, row: Row) -> str:
        """The request, a solution, and the answer in a box."""
        solution = row.text("solution").strip() if row.get("solution") is not None else ""
        if last_boxed(solution) is None:
            solution = f"{solution}\n\\boxed{{{self.gold(row)}}}".lstrip()
        return f"{self.ask(row)}\n\n{solution}"


class AIMEPrompts(MathPrompts):
    """AIME: answers are integers from 0 to 999."""

    benchmark = "aime24"
    hub_split = "train"

    def gold(self, row: Row) -> str:
        """The answer without leading zeros.

        Raises:
            InputError: If it is no integer from 0 to 999.
        """
        text = super().gold(row)
        if not re.fullmatch(r"0*\d{1,3}(?:\.0*)?", text):
            raise row.error("answer", f"{text!r} is no integer from 0 to 999, as AIME's answers are")
        return str(int(float(text)))


class MATH500Prompts(MathPrompts):
    """MATH-500: 500 problems of the MATH test set."""

    benchmark = "math500"


class GSM8KPrompts(MathPrompts):
    """GSM8K: school problems; the answer's column is a solution that ends in ``#### N``, or the number alone."""

    benchmark = "gsm8k"

    def gold(self, row: Row) -> str:
        """The number after the last ``####``.

        Raises:
            InputError: If there is neither that nor a lone number.
        """
        text = super().gold(row)
        found = _FINAL.findall(text)
        answer = str(found[-1]) if found else text
        if not _NUMBER.fullmatch(answer):
            raise row.error("answer", f"no '#### number' at the end and no number alone: {text[-60:]!r}")
        return answer.replace(",", "").replace("$", "")

    def worked(self, row: Row) -> str:
        """The solution without the calculator's marks, and the answer in a box."""
        steps = _MARKS.sub("", _FINAL.sub("", row.text("answer"))).strip()
        if _NUMBER.fullmatch(steps):
            steps = ""
        solution = f"{steps}\n\\boxed{{{self.gold(row)}}}".lstrip()
        return f"{self.ask(row)}\n\n{solution}"


class MGSMPrompts(GSM8KPrompts):
    """MGSM: 250 problems of GSM8K in several languages, asked in the problem's language, which the prompt records.

    Args:
        languages: Which of them, ISO 639-1. A folder holds ``mgsm_LANGUAGE.tsv`` for each, a hub data set a
            configuration for each; a single file is of the language that its name ends in (``mgsm_zh.tsv``), or of the
            only one given here. A file without a header line is a question and a number.
        options: See ``BenchmarkPrompts``.

    Raises:
        InputError: If an argument makes no sense, or a language has no instruction and ``prompt`` gives none.
    """

    benchmark = "mgsm"
    roles: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "question": ("question", "problem", "prompt", "input"),
        "answer": ("answer_number", "answer", "final_answer", "target", "gold", "label"),
        "solution": ("solution",),
        "id": ("id", "unique_id"),
    }

    def __init__(self, languages: list[str] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.languages = languages or ["en", "zh", "ja", "fr", "de"]
        self._given = languages
        self._own_prompt = bool(options.get("prompt"))
        if not self._own_prompt:
            for language in self.languages:
                if language not in REQUESTS:
                    raise InputError(
                        f"MGSMPrompts: no instruction in {language!r}, only in {', '.join(REQUESTS)}; give prompt"
                    )

    def rows(self) -> list[Row]:
        """All rows, language by language, each numbered within its file.

        Raises:
            InputError: As ``load``; also if a file's language is not known.
        """
        if self.path is None:
            split = self.split or self.hub_split
            return [marked for name in self.languages for marked in self._marked(self.from_hub(split, name), name)]
        if not self.path.is_dir():
            return self._marked(self.read(self.path), self._language_of(self.path))
        rows: list[Row] = []
        for name in self.languages:
            files = sorted(self.path.glob(f"*_{name}.*"))
            if len(files) != 1:
                raise InputError(f"{self.path}: {len(files)} files are named *_{name}.*; one is needed for {name!r}")
            rows += self._marked(self.read(files[0]), name)
        return rows

    def read(self, path: Path, source: str | None = None) -> list[Row]:
        """The rows of a file; a table whose first line ends in a number has no header."""
        delimiter = delimiter_of(path)
        if self.header is None and delimiter is not None and path.is_file():
            cells = first_cells(path, delimiter)
            if len(cells) == 2 and _NUMBER.fullmatch(cells[1].strip()):
                self.header = ["question", "answer"]
                try:
                    return super().read(path, source)
                finally:
                    self.header = None
        return super().read(path, source)

    def _language_of(self, path: Path) -> str:
        named = path.name.split(".")[0].rpartition("_")[2]
        if self._given is not None and len(self._given) == 1:
            return self._given[0]
        if named in self.languages:
            return named
        raise InputError(
            f"{path}: which language? Name the file ..._zh.tsv, give a folder of such files, or languages: [zh]"
        )

    @staticmethod
    def _marked(rows: list[Row], language: str) -> list[Row]:
        return [
            Row(row.source, row.number, {**row.values, "language": language}, {**row.columns, "language": "language"})
            for row in rows
        ]

    def prompt_id(self, row: Row) -> str:
        """With the language, since the languages number alike."""
        prefix, _, rest = super().prompt_id(row).partition("/")
        return f"{prefix}/{self.language(row)}/{rest}"

    def language(self, row: Row) -> str:
        """Of the file."""
        return row.text("language")

    def request(self, row: Row) -> str:
        """In the problem's language."""
        return self.prompt if self._own_prompt else REQUESTS[self.language(row)]

    def shot_rows(self) -> list[Row]:
        """The rows of one file; of a hub data set, the first language's."""
        if self.shots_path is not None:
            return self._marked(self.read(self.shots_path), self._language_of(self.shots_path))
        if self.path is None:
            return self._marked(self.from_hub("train", self.languages[0]), self.languages[0])
        return super().shot_rows()
