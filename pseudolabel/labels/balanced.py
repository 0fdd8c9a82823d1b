"""Draw a list of clips in which rare classes are as frequent as they can be, as AudioSet's balanced list was drawn."""

from __future__ import annotations

import numpy as np

from pseudolabel.labels.table import LabelTable


def draw_balanced(labels: LabelTable, n: int, rng: np.random.Generator) -> list[str]:
    """Return `n` clip ids, in the table's order, whose label counts are as even as the clips allow.

    Again and again the class with the fewest labels so far gives one of its clips, at random. Clips are not preferred
    for having few labels: that would collect those that the annotator neglected. Clips without a label are never drawn.
    """
    matrix, by_class = labels.matrix.tocsr(), labels.matrix.tocsc()
    n_classes = matrix.shape[1]
    queues = [
        [int(clip) for clip in rng.permutation(by_class.indices[by_class.indptr[k] : by_class.indptr[k + 1]])]
        for k in range(n_classes)
    ]
    counts, taken, open_classes = np.zeros(n_classes, dtype=np.int64), set(), set(range(n_classes))
    while len(taken) < n and open_classes:
        scarcest = min(open_classes, key=lambda k: (counts[k], k))
        queue = queues[scarcest]
        while queue and queue[-1] in taken:
            queue.pop()
        if not queue:
            open_classes.remove(scarcest)
            continue
        clip = queue.pop()
        taken.add(clip)
        counts[matrix.indices[matrix.indptr[clip] : matrix.indptr[clip + 1]]] += 1
    return [labels.clip_ids[clip] for clip in sorted(taken)]
