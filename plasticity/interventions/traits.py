"""Conflicts of interventions: each declares its traits, and pairs of traits exclude each other.

A new intervention declares its traits, and its conflicts with all others follow from them; no other
class has to know its name.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum


class Trait(Enum):
    """One thing that an intervention does, in words that follow its name in a message."""

    OWNS_OPTIMIZER = "brings the optimiser"
    REWRITES_STEPS = "rewrites the optimiser's steps"
    ONE_LEARNING_RATE = "takes all parameters to have one learning rate"
    SEVERAL_LEARNING_RATES = "steps parameters at different learning rates"
    READS_GRADIENTS = "takes gradients for those of the task's loss alone"
    PENALIZES_WEIGHTS = "adds a penalty on weights to the gradients"
    COUPLED_DECAY = "decays weights through their gradients"
    DECOUPLED_DECAY = "decays weights beside the gradient step"
    ONLY_SHRINKS = "does nothing but shrink weights"
    FIXES_LENGTHS = "keeps the lengths of weights fixed"
    PULLS_TO_ISOMETRY = "pulls layers towards an isometry"
    UNIT_SINGULAR_VALUES = "pulls singular values to a value of its own"
    INITIAL_SINGULAR_VALUES = "pulls singular values to that of the initialisation"
    PROJECTS_TO_ISOMETRY = "replaces layers by the nearest isometry"
    WHOLE_LAYER = "takes a layer's weights for one matrix"
    LAYER_IN_BLOCKS = "divides a layer into blocks with signs of their own"
    SCALES_LAYERS = "keeps a scale of every hidden layer apart"
    EDITS_EVERYTHING = "moves all parameters without regard to their role"
    REFERS_TO_INITIAL_WEIGHTS = "holds weights near those that the network began with"
    DRAWS_WEIGHTS = "puts newly drawn weights into the network"
    REDRAWS_LAYERS = "redraws whole layers at once"
    RECYCLES_UNITS = "redraws single units"
    REDRAWS_WEIGHTS = "redraws single weights"
    SHRINKS_BY_GRADIENTS = "shrinks rows by gradients averaged before a switch"
    AVERAGES_WEIGHTS = "returns to a running mean of past weights"
    ADDS_UNITS = "adds units up before they are read"
    SETS_ACTIVATION = "sets the activation"
    ACTIVATION_NEVER_DORMANT = "sets an activation without dormant units"
    FINDS_DORMANT_UNITS = "looks for dormant units"
    FINDS_SILENT_UNITS = "looks for units whose outputs are 0"
    EQUAL_MOMENT_DECAYS = "lets both moments decay at one rate"
    RESTARTS_STEP_COUNTS = (
        "restarts the step count alone, whose first step then is ten times as long"
    )


T = Trait
_ALONE = (
    *(T.OWNS_OPTIMIZER, T.REWRITES_STEPS, T.COUPLED_DECAY, T.DECOUPLED_DECAY),
    *(T.PULLS_TO_ISOMETRY, T.PROJECTS_TO_ISOMETRY, T.SETS_ACTIVATION),
)
_PAIRS = (
    (T.ONE_LEARNING_RATE, {T.SEVERAL_LEARNING_RATES}),
    (T.READS_GRADIENTS, {T.PENALIZES_WEIGHTS}),
    (T.FIXES_LENGTHS, {T.ONLY_SHRINKS}),
    (T.INITIAL_SINGULAR_VALUES, {T.UNIT_SINGULAR_VALUES}),
    # The scale is neither in the layers that these edit nor theirs to move.
    (T.SCALES_LAYERS, {T.EDITS_EVERYTHING, T.REWRITES_STEPS, T.FIXES_LENGTHS}),
    (T.REFERS_TO_INITIAL_WEIGHTS, {T.DRAWS_WEIGHTS}),
    (T.SHRINKS_BY_GRADIENTS, {T.REDRAWS_LAYERS}),
    # The mean would bring back what the other has just replaced.
    (
        T.AVERAGES_WEIGHTS,
        {T.REDRAWS_LAYERS, T.RECYCLES_UNITS, T.REDRAWS_WEIGHTS, T.SHRINKS_BY_GRADIENTS},
    ),
    # The outgoing weights of a new unit are 0, the least useful of all; and it must have some.
    (T.RECYCLES_UNITS, {T.REDRAWS_WEIGHTS, T.ADDS_UNITS}),
    # A block of g' subtracts, so what is done to the layer as one is not done to the function.
    (
        T.LAYER_IN_BLOCKS,
        {T.WHOLE_LAYER, T.DRAWS_WEIGHTS, T.REFERS_TO_INITIAL_WEIGHTS, T.AVERAGES_WEIGHTS},
    ),
    (T.FINDS_DORMANT_UNITS, {T.ACTIVATION_NEVER_DORMANT}),
    (T.FINDS_SILENT_UNITS, {T.SETS_ACTIVATION}),
    (T.EQUAL_MOMENT_DECAYS, {T.RESTARTS_STEP_COUNTS}),
)
EXCLUSIVE: frozenset[frozenset[Trait]] = frozenset(
    [frozenset({trait}) for trait in _ALONE]
    + [frozenset({one, other}) for one, others in _PAIRS for other in others]
)
"""Pairs of traits that two interventions cannot have, one each; one trait alone excludes itself."""


def why_not(one: Collection[Trait], other: Collection[Trait]) -> tuple[Trait, Trait] | None:
    """Traits for which two interventions do not go together.

    Args:
        one: Traits of the one.
        other: Traits of the other.

    Returns:
        A trait of each that exclude another, the first in the order of `Trait`; None if they go
        together.
    """
    pairs = ((mine, theirs) for mine in one for theirs in other)
    found = [pair for pair in pairs if frozenset(pair) in EXCLUSIVE]
    order = list(Trait)
    return min(found, key=lambda pair: tuple(map(order.index, pair)), default=None)
