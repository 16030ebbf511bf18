"""How many tokens there are, and whether two models mean the same ones by the same numbers."""

from transformers import PreTrainedTokenizerBase

from r1lit.errors import InputError


def vocabulary_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """One more than the highest number of a token."""
    return max(tokenizer.get_vocab().values()) + 1


def shared_vocabulary(
    student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, student_name: str, teacher_name: str
) -> int:
    """Makes sure that two tokenizers have the same tokens, and returns how many.

    Distributions can be compared token by token only then. How a text is cut into tokens (merges, normalization) may
    differ, since a teacher reads the student's tokens as they are; so may the rows beyond the vocabulary that models
    are padded with (Qwen2.5: 151,936 up to 3B, 152,064 from 7B, for 151,665 tokens), which belong to no token.

    Args:
        student: A tokenizer.
        teacher: Another.
        student_name: What an error calls the first.
        teacher_name: What it calls the second.

    Raises:
        InputError: If a number stands for different tokens, or for one of them only; names the first such.
    """
    ours, theirs = ({number: token for token, number in t.get_vocab().items()} for t in (student, teacher))
    for number in sorted(ours.keys() | theirs.keys()):
        if ours.get(number) != theirs.get(number):
            ends = [repr(vocabulary[number]) if number in vocabulary else "none" for vocabulary in (ours, theirs)]
            raise InputError(
                f"the vocabularies of student '{student_name}' and teacher '{teacher_name}' differ: token {number} is "
                f"{ends[0]} for the student and {ends[1]} for the teacher; take a teacher of the student's family, or "
                "fine-tune the student on the teacher's texts (SFTModule), which any tokenizer can"
            )
    return vocabulary_size(student)
