"""The evidence of several subjects, heard together: a question that all of them are asked is one attack."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from ...attacks.batching import BATCH
from ...attacks.gradients import outputs
from ...attacks.group import Group
from ...attacks.passes import Passes
from ...attacks.transfer import make_images
from ...inference import untraced
from ...threat import ThreatModel
from .evidence import Asking, Evidence, Question
from .flag import Flag


class Witnesses:
    """Evidence of subjects whose models are of one architecture.

    Args:
        evidence: one of each subject, on one device.
    """

    def __init__(self, evidence: Sequence[Evidence]) -> None:
        self.evidence = list(evidence)

    def hear(self, check: Callable[[Evidence], Flag | Asking | None]) -> list[Flag | None]:
        """Return what a check says of each; the questions it asks are answered for all at a time."""
        found: list[Flag | None] = [None] * len(self.evidence)
        asking: dict[int, Asking] = {}
        for number, evidence in enumerate(self.evidence):
            said = check(evidence)
            if isinstance(said, Generator):
                asking[number] = said
            else:
                found[number] = said
        answers: dict[int, Tensor | None] = dict.fromkeys(asking)
        while answers:
            questions = {}
            for number, answer in answers.items():
                try:
                    # None starts a generator, and a tensor is the answer that it waits for.
                    questions[number] = asking[number].send(answer)  # type: ignore[arg-type]
                except StopIteration as end:
                    found[number] = end.value
            answers = self._answers(questions)
        return found

    def share_images(self, wanted: Callable[[Evidence], Tensor]) -> None:
        """Make the surrogates' images of these points of all subjects at once; each is kept by its surrogate."""
        found = [
            (sibling, evidence, at)
            for evidence in self.evidence
            if evidence.judges and (sibling := evidence.subject.sibling) is not None and len(at := wanted(evidence))
        ]
        if not found:
            return
        subject = found[0][1].subject
        make_images(
            [sibling for sibling, _, _ in found],
            [evidence.x for _, evidence, _ in found],
            [evidence.y for _, evidence, _ in found],
            [at for _, _, at in found],
            eps=subject.headline_eps,
            norm=subject.norm,
            seeds=[evidence.subject.seed for _, evidence, _ in found],
        )

    def _answers(self, questions: dict[int, Question]) -> dict[int, Tensor | None]:
        answers: dict[int, Tensor | None] = {}
        while len(answers) < len(questions):
            first = next(question for number, question in questions.items() if number not in answers)
            same = [
                number
                for number, question in questions.items()
                if number not in answers
                and (question.attack, question.eps, question.norm) == (first.attack, first.eps, first.norm)
            ]
            answers |= self._attacked(first, {number: questions[number].at for number in same})
        return answers

    def _attacked(self, question: Question, at: dict[int, Tensor]) -> dict[int, Tensor]:
        """Which of the points `at` of each evidence the attack of the question breaks, as positions, verified."""
        subject = self.evidence[0].subject
        eps = subject.headline_eps if question.eps is None else question.eps
        threat = ThreatModel(question.norm or subject.norm, eps)
        starts = [0, *accumulate(self._group.siblings.sizes)]
        todo = torch.cat([positions + starts[number] for number, positions in sorted(at.items())])
        passes = [Passes() for _ in self.evidence]
        with torch.inference_mode(False), ExitStack() as stack:
            for evidence in self.evidence:
                stack.enter_context(untraced(evidence.model))
            hits = self._group.hits(todo, question.attack, threat, passes, BATCH)
        return {number: hits[(hits >= starts[number]) & (hits < starts[number + 1])] - starts[number] for number in at}

    @cached_property
    def _group(self) -> Group:
        models = [evidence.model for evidence in self.evidence]
        with torch.inference_mode(False), ExitStack() as stack:
            for model in models:
                stack.enter_context(untraced(model))
            points = [evidence.x for evidence in self.evidence], [evidence.y for evidence in self.evidence]
            group = Group.of(models, *points, [evidence.subject.seed for evidence in self.evidence])
            parts = group.points.split(BATCH * len(models))
            group.siblings.remember(group.points.x, torch.cat([outputs(part.model, part.x, part.y) for part in parts]))
        return group
