"""The search for the explanation of largest posterior probability, and the confidence in each of its events.

A support is improved by the best of all removals, additions and exchanges of one event, then of up to two events for
up to two others, which is what it takes to distinguish neighbouring onsets whose columns nearly coincide.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from wavefield.decoding.inverse.columns import RIVAL
from wavefield.decoding.sparse.posterior import Explanation, Posterior

_NEGLIGIBLE = -12.0  # explanations e⁻¹² as likely as the best are left out of the sums
_SEARCHED = -4.0  # those within e⁻⁴ of the best are searched around in turn,
_MOST_SEARCHES = 20  # so many of them at most
_LEAST_GAIN = 1e-6  # of the log posterior, for a support to be better than another
_MOST_DOUBLE_MOVES = 20  # rounds of moves of two events
_CORRELATED = 0.1  # least correlation of events whose onsets are judged together,
_MOST_CORRELATED = 3  # so many besides the event itself at most
_MOST_RIVALS = 40  # columns of which pairs are tried in the place of correlated events


def climb(posterior: Posterior, starts: list, *, thorough=True, most_moves: int = 100) -> Explanation:
    """Improve the supports `starts` by moves of one event, and if `thorough` what is best then by those of two."""
    ends = [_climbed(Explanation(posterior, start), [_single_proposals], most_moves) for start in starts]
    best = max(ends, key=lambda e: e.score)
    return _climbed(best, [_single_proposals, _double_proposals], _MOST_DOUBLE_MOVES) if thorough else best


def converge(explanation: Explanation, progress, rounds: int = 5) -> tuple[Explanation, np.ndarray]:
    """Return the best explanation found around a given one, and the posterior probability of each of its events.

    The probability of an event sums over all explanations found by moves around it and around the events correlated
    with it, those far from it held fixed.
    """
    for last in [False] * rounds + [True]:
        known = {frozenset(explanation.support): explanation}
        places = progress(range(len(explanation.support)), "confidence")
        confidence = [_confidence(event, explanation, known) for event in places]
        valid = (e for e in known.values() if e.without_most_negative() is None)
        best = max(valid, key=lambda e: e.score, default=explanation)
        if last or best.score <= explanation.score + _LEAST_GAIN:
            break
        explanation = best
    return explanation, np.array(confidence)


def alternatives(explanation: Explanation, event: int, least: float) -> dict:
    """Columns outside of a support that may stand for one of its events: {column: (probability, best support)}.

    Those of a probability of at least `least`, the events not correlated with the given one held fixed.
    """
    known = {frozenset(explanation.support): explanation}
    supports, weights = _around(event, explanation, known)
    probability: dict[int, float] = {}
    best: dict[int, frozenset] = {}
    for k in np.argsort(-weights):
        for j in supports[k].difference(explanation.support):
            probability[j] = probability.get(j, 0.0) + float(weights[k])
            best.setdefault(j, supports[k])
    return {j: (p, best[j]) for j, p in probability.items() if p >= least}


def correlated(explanation: Explanation, event: int) -> list:
    """Places in the support of an event and of the few that are most correlated with it.

    Two events that both are correlated with some other column count as correlated: it may stand for either.
    """
    strength = explanation.correlation[event].copy()
    strength[event] = np.inf
    order = np.argsort(-strength, kind="stable")[: 1 + _MOST_CORRELATED]
    return [int(k) for k in order if strength[k] > _CORRELATED]


def groups(explanation: Explanation, ambiguous: np.ndarray) -> np.ndarray:
    """Number the ambiguous events from 1, those correlated with each other alike; 0 for the others."""
    numbers = np.zeros(len(explanation.support), np.int64)
    at = np.flatnonzero(ambiguous)
    if at.size:
        place = {k: n for n, k in enumerate(at)}
        pairs = [(place[i], place[k]) for i in at for k in correlated(explanation, int(i)) if k in place]
        linked = csr_array((np.ones(len(pairs)), tuple(np.transpose(pairs))), shape=(at.size, at.size))
        numbers[at] = connected_components(linked, directed=False)[1] + 1
    return numbers


# ---- to the best explanation --------------------------------------------------------------------------------------


def _climbed(explanation, proposals, most_moves):
    for _ in range(most_moves):
        if explanation.posterior.effort.exhausted:
            break
        better = _improved(explanation, proposals)
        if better is None:
            break
        explanation = better
    return explanation


def _improved(explanation, proposals):
    """Return a better explanation, None if no move leads to one."""
    for of in proposals:
        for support in of(explanation):
            better = Explanation(explanation.posterior, support)
            if better.score > explanation.score + _LEAST_GAIN:
                return better
    fewer = explanation.without_most_negative()
    return None if fewer is None else Explanation(explanation.posterior, fewer)


def _single_proposals(explanation) -> list:
    """Supports that should be better: all moves of one event that do not touch each other, and the best alone."""
    addition = explanation.additions()
    removal, exchange = explanation.removals_and_exchanges()
    moves: list[tuple[float, tuple, tuple]] = [(addition[j], (), (j,)) for j in np.flatnonzero(addition > _LEAST_GAIN)]
    for i, event in enumerate(explanation.support):
        j = int(np.argmax(exchange[i]))
        if removal[i] > max(exchange[i, j], _LEAST_GAIN):
            moves.append((removal[i], (event,), ()))
        elif exchange[i, j] > _LEAST_GAIN:
            moves.append((exchange[i, j], (event,), (j,)))
    moves.sort(key=lambda move: -move[0])
    return [_moved(explanation, moves), _moved(explanation, moves[:1])] if moves else []


def _moved(explanation, moves):
    """Make the first move, and all that touch no column near one already touched."""
    columns = explanation.posterior.columns
    support, touched = set(explanation.support), np.zeros(columns.count, bool)
    for _, out, into in moves:
        if touched[[*out, *into]].any():
            continue
        support = (support - set(out)) | set(into)
        touched |= (columns.correlation([*out, *into]) > _CORRELATED).any(axis=0)
    return support


def _double_proposals(explanation) -> list:
    """As `_single_proposals`, with up to two events exchanged for up to two others."""
    here = frozenset(explanation.support)
    found = _neighbours(explanation, explanation.support)
    moves = [
        (score - explanation.score, tuple(here - support), tuple(support - here))
        for support, score in found.items()
        if score > explanation.score + _LEAST_GAIN
    ]
    moves.sort(key=lambda move: (-move[0], move[1:]))
    best = moves[: 4 * len(here) + 1]
    return [_moved(explanation, best), _moved(explanation, best[:1])] if best else []


# ---- around an explanation ----------------------------------------------------------------------------------------


def _confidence(event, explanation, known):
    """Probability of the event at a place in the support, the events not correlated with it held fixed."""
    supports, weights = _around(event, explanation, known)
    holds = np.array([explanation.support[event] in support for support in supports])
    return float(weights[holds].sum())


def _around(event, explanation, known):
    """Supports around an explanation with those events moved that are correlated with one, and their probabilities."""
    free = {explanation.support[k] for k in correlated(explanation, event)}
    fixed = frozenset(explanation.support) - free
    scores, searched = {frozenset(explanation.support): explanation.score}, set()
    for _ in range(_MOST_SEARCHES):
        if explanation.posterior.effort.exhausted:
            break
        best = max(scores.values())
        remaining = [s for s, score in scores.items() if s not in searched and score > best + _SEARCHED]
        if not remaining:
            break
        here = max(remaining, key=scores.get)
        searched.add(here)
        for support, score in _neighbours(_known(here, explanation, known), here - fixed).items():
            if support not in scores:
                # what should be better than the best has lost its digits: it was tried in the climb
                trusted = score <= explanation.score
                scores[support] = score if trusted else _known(support, explanation, known).score
    weights = np.exp(np.array(list(scores.values())) - max(scores.values()))
    return list(scores), weights / weights.sum()


def _known(support, explanation, known):
    if support not in known:
        known[support] = Explanation(explanation.posterior, support)
    return known[support]


def _neighbours(explanation, free) -> dict:
    """Supports one move away that leaves all but the `free` events as they are, and their scores.

    Negligible ones are left out.
    """
    places = [k for k, event in enumerate(explanation.support) if event in free]
    pairs = {
        tuple(sorted((i, k)))
        for i in places
        for k in correlated(explanation, i)
        if k != i and explanation.support[k] in free
    }
    found = _additions(explanation, places)
    for block in [(k,) for k in places] + sorted(pairs):
        if block not in explanation.moves:
            explanation.moves[block] = _exchanges(explanation, list(block))
        found.update(explanation.moves[block])
    return found


def _additions(explanation, places):
    """Supports with one more event, like one of those at the given places if there are any."""
    gain = explanation.additions()
    at = np.flatnonzero(gain > _NEGLIGIBLE)
    if places and at.size:
        events = [explanation.support[k] for k in places]
        at = at[explanation.posterior.columns.correlation(events).max(axis=0)[at] > RIVAL]
    return {frozenset((*explanation.support, int(j))): float(explanation.score + gain[j]) for j in at}


def _exchanges(explanation, block):
    """Supports with the events at the places of a block left out, or exchanged for one or two others."""
    events = [explanation.support[k] for k in block]
    rest = frozenset(explanation.support) - set(events)
    reduced = explanation.without(block)
    found = {rest: reduced.none()}
    single = reduced.singles()
    found.update((rest | {int(j)}, single[j]) for j in np.flatnonzero(single > _NEGLIGIBLE))
    rivals = _rivals(explanation.posterior.columns, events, rest)
    double = reduced.pairs(rivals)
    for k, l in np.argwhere(double > _NEGLIGIBLE):
        found[rest | {int(rivals[k]), int(rivals[l])}] = double[k, l]
    found.pop(frozenset(explanation.support), None)
    return {support: float(explanation.score + change) for support, change in found.items() if change > _NEGLIGIBLE}


def _rivals(columns, events, rest):
    """The columns most like those of the events, the rest of the support left out."""
    likeness = columns.correlation(events).max(axis=0)
    likeness[list(rest)] = 0
    order = np.argsort(-likeness)[:_MOST_RIVALS]
    return order[likeness[order] > RIVAL]
