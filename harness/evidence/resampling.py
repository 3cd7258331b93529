"""What all evidence shares: the blocks of a network of twelve by depth, and how estimates are resampled."""

from __future__ import annotations

# Early, middle and late blocks of a network of twelve; "the last three blocks" (3.1) are the late ones.
LO, MID, HI = tuple(range(4)), tuple(range(4, 9)), tuple(range(9, 12))
BLOCKS = LO + MID + HI

DRAWS, SEED = 2000, 0

# One unit in this many chooses the largest of many quantities; choosing needs less precision than judging.
CHOOSES = 4
