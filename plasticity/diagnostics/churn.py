"""Churn: how much an update changes outputs on states that were not in its batch.

Outputs before and after are (..., B, k) or (..., B), over the same B states.
"""

import torch
from torch import Tensor


def policy_churn(before: Tensor, after: Tensor, normalised: bool = False) -> Tensor:
    """Mean KL(before, after) in nats of categorical policies.

    Cost: two forward passes.

    Args:
        before: (..., B, actions) logits from before the update.
        after: logits after it.
        normalised: divide by the mean entropy of the policies before; infinity or NaN where they
            are deterministic.

    Returns:
        (...) >= 0.

    Source: Schaul et al., "The phenomenon of policy churn" (2022); as a KL, Tang and Berseth,
    "Improving deep reinforcement learning by reducing the chain effect of value and policy churn"
    (2024).
    """
    old: Tensor = before.log_softmax(-1)
    new: Tensor = after.log_softmax(-1)
    p = old.exp()
    # A probability of 0 adds nothing, whatever the other logarithm.
    difference = torch.where(p > 0, p * (old - new), 0.0).sum(-1).mean(-1)
    if not normalised:
        return difference
    entropy: Tensor = torch.special.entr(p)
    return difference / entropy.sum(-1).mean(-1)


def greedy_flips(before: Tensor, after: Tensor) -> Tensor:
    """Share of states whose greedy action is another one: (..., B, actions) to (...).

    Cost: two forward passes.

    Source: Schaul et al., "The phenomenon of policy churn" (2022).
    """
    return (before.argmax(-1) != after.argmax(-1)).to(torch.float32).mean(-1)


def value_churn(before: Tensor, after: Tensor) -> Tensor:
    """Mean squared change of values, in units of their variance over the states before.

    Cost: two forward passes.

    Args:
        before: (..., B) values from before the update.
        after: values after it.

    Returns:
        (...) >= 0, without a scale; infinity if all values were the same.

    Source: Tang and Berseth, "Improving deep reinforcement learning by reducing the chain effect of
    value and policy churn" (2024), here divided by the variance.
    """
    return (after - before).square().mean(-1) / before.var(-1, correction=0)
