"""The labels of a list in the classes of a vocabulary: ids, names, which may have commas, or class numbers."""

from __future__ import annotations

import re
from pathlib import Path

from pseudolabel.errors import InputError
from pseudolabel.labels.cells import Labels, is_empty
from pseudolabel.labels.readers import Format
from pseudolabel.labels.vocabulary import Vocabulary, built_in_with

NUMBER = re.compile(r"(\d{1,9})(?:\.0+)?", re.ASCII)  # of a class; programs write whole numbers as 7.0 too
BITS = frozenset(("0", "1", "0.0", "1.0"))


class LabelTexts:
    """The distinct labels of a list's rows, in the order of their first row.

    Args:
        classes: what class numbers mean, as in `LabelTable.read`.
        numbered: class numbers are columns of the vocabulary.

    Attributes:
        label_sets: columns of the vocabulary.
        unknown_of: {place in `label_sets`: labels that are not in the vocabulary}.
        remarks: how class numbers were read.
    """

    def __init__(
        self,
        path: str | Path,
        form: Format,
        vocabulary: Vocabulary,
        classes: Vocabulary | str | Path | None,
        numbered: bool,
    ):
        self.path, self.form, self.vocabulary, self.given = path, form, vocabulary, classes is not None
        self.order = Vocabulary.of(classes) if self.given else vocabulary if numbered else None
        self.numbered = numbered
        self.label_sets: list[list[int]] = []
        self.unknown_of: dict[int, list[str]] = {}
        self.remarks: list[str] = []
        index = vocabulary.index
        names = (name.split(",") for name in vocabulary.names if "," in name)
        self._ids_at_commas = form.separators == ";," and not any(index.keys() >= {*pieces} for pieces in names)
        self._codes: dict[Labels, int] = {}
        self._number: tuple[str, str] | None = None  # the first class number, and its place
        self._named = False
        self._widths: set[int] = set()  # of rows of 0 and 1; 0: there are others
        self._vector: tuple[list[str], str] | None = None  # the first row that is hardly a list of class numbers

    def code(self, labels: Labels, number: int, unknown: str) -> int:
        """Return the place in `label_sets` of the labels of row `number`."""
        code = self._codes.get(labels)
        if code is None:
            code, place = len(self.label_sets), self.form.place(self.path, number)
            columns, unknown_labels = self._columns_of(labels, place)
            if unknown_labels:
                if unknown == "error":
                    raise unknown_label(unknown_labels[0], self.vocabulary, place)
                self.unknown_of[code] = unknown_labels
            self._codes[labels] = code
            self.label_sets.append(columns)
        return code

    def most_labels(self, *codes: int) -> int:
        """Return the most labels that any of these has."""
        return max(len(self.label_sets[code]) + len(self.unknown_of.get(code, ())) for code in codes)

    def finish(self) -> None:
        """Remark how class numbers were read; InputError if nothing says what they mean, or they look like vectors.

        One number among names is a mistake rather than a class.
        """
        if self._vector and not self._named and len(self._widths) == 1 and 0 not in self._widths:
            texts, place = self._vector
            message = f"every row has {len(texts)} numbers, all 0 or 1: class numbers, or a place for each class?"
            remedy = "Give the classes' names or numbers in each row, or a column of 0 and 1 for each class."
            raise InputError(message, place, remedy)
        if self._number is None or self.given:
            return
        if self._named and not self.numbered:
            raise unknown_label(self._number[0], self.vocabulary, self._number[1])
        self.remarks.append(
            f"labels are class numbers, in the order of {self.order.name!r} (0 is {self.order.names[0]}); "
            "--classes LIST names another order"
        )

    def _columns_of(self, labels: Labels, place: str) -> tuple[list[int], list[str]]:
        """Return the columns of a row's labels, and the labels that are not in the vocabulary."""
        if isinstance(labels, str):
            index, separators = self.vocabulary.index, self.form.separators
            texts = labels.split(separators[0]) if separators else [labels]
            if self._ids_at_commas and len(texts) == 1 and texts[0] not in index:
                texts = labels.split(",")
            if not self.given and all(map(index.__contains__, texts)):  # nearly always
                self._named = True
                return [index[text] for text in texts], []
            if is_empty(labels) and self.vocabulary.lookup(labels) is None:
                return [], []
            texts = split_labels(labels, separators, self.vocabulary)
        else:
            texts = [text.strip() for text in labels]
        if "" in texts:
            message = f"an empty label in {labels if isinstance(labels, str) else list(labels)!r}"
            raise InputError(message, place, "Is the row whole? Remove the lone separator.")
        if texts:
            self._widths.add(len(texts) if len(texts) > 1 and BITS.issuperset(texts) else 0)
            self._vector = self._vector or (None if tuple(texts) == ("0", "1") else (texts, place))
        class_ids = [self._class_id(text, place) for text in texts]
        unknown = [text for text, class_id in zip(texts, class_ids, strict=True) if class_id is None]
        return [self.vocabulary.index[class_id] for class_id in class_ids if class_id is not None], unknown

    def _class_id(self, text: str, place: str) -> str | None:
        """Return the class of a label, by id, name or number; None if there is none."""
        number = NUMBER.fullmatch(text)
        class_id = self.vocabulary.lookup(text)
        if number is None or (class_id is not None and not self.given):
            self._named = True
            return class_id
        self._number = self._number or (text, place)
        order, column = self._order(place), int(number[1])
        if column >= len(order):
            message = f"class number {text} is not in {order.name!r}, which has 0 to {len(order) - 1}"
            raise InputError(message, place, "Give --classes LIST, a file with the list's classes, one a line.")
        return self.vocabulary.lookup(order.class_ids[column]) or self.vocabulary.lookup(order.names[column])

    def _order(self, place: str) -> Vocabulary:
        """Return the classes that numbers mean."""
        if self.order is None and self._named:
            raise unknown_label(self._number[0], self.vocabulary, place)
        if self.order is None:
            audioset = Vocabulary.load("audioset")
            if self.vocabulary != audioset:
                message = f"label {self._number[0]!r} is a class number, and nothing says of which classes"
                remedy = "Give --classes LIST: audioset, a vocabulary, or a file with one class a line."
                raise InputError(message, place, remedy)
            self.order = audioset
        return self.order


def unknown_label(label: str, vocabulary: Vocabulary, place: str) -> InputError:
    """Return the error for a label that is not in the vocabulary."""
    fitting = built_in_with(label, vocabulary.name)
    vocabularies = f"Use --vocabulary {fitting}" if fitting else "Correct it, give the --vocabulary of the list"
    return vocabulary.unknown(label, place, f"{vocabularies}, or --unknown-labels skip.")


def split_labels(text: str, separators: str, vocabulary: Vocabulary) -> list[str]:
    """Split joined labels; a class name that contains the separator stays whole.

    If a piece is not a class, the longest run of pieces starting there that forms a class name is taken; runs are
    limited to the longest name. A piece that begins no class name is split by the next separator, if any, or kept.
    """
    text = text.strip()
    if not separators or (separators[0] not in text and len(separators) == 1):
        return [text]
    pieces = text.split(separators[0])
    labels, start, longest = [], 0, vocabulary.most_pieces[separators[0]]
    while start < len(pieces):
        ends = range(min(len(pieces), start + longest), start, -1)
        runs = ((end, separators[0].join(pieces[start:end]).strip()) for end in ends)
        if pieces[start].strip() in vocabulary.index:
            found = start + 1, pieces[start].strip()
        else:
            found = next(((end, run) for end, run in runs if vocabulary.lookup(run) is not None), None)
        if found is None:
            labels += split_labels(pieces[start], separators[1:], vocabulary)
            start += 1
        else:
            start, label = found
            labels.append(label)
    return labels
