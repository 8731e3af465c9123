"""Reproductions: each claim of the paper as a plan that one command runs.

`claims` has the claims and plans of streams of games; each other module an analysis. A list of
them needs no pandas and no figures.
"""

from neoteny.experiments.reproductions import claims as claims
from neoteny.experiments.reproductions.reproduction import REPRODUCTIONS, TIERS, Reproduction

__all__ = ["REPRODUCTIONS", "TIERS", "Reproduction"]
