"""Explanations in the frequency domain (Huber, Damer, WACV 2025, arXiv 2407.11941).

``bands``: an image as a sum of bands. ``influence``: what the cosine loses without one. ``deletion``: bands that go or
come one after the other.
"""

from xfvlib.frequency.bands import *
from xfvlib.frequency.deletion import *
from xfvlib.frequency.influence import *

__all__ = ["BAND_ORDERS", "CUTOFFS", "FrequencyInfluence", "band_areas", "band_deletion_scores",
    "band_energy", "band_masks", "band_numbers", "control_embeddings", "cutoff_mask", "distance_from_dc",
    "energy_matched_masks", "frequency_influence", "gradient_influence", "influence_table", "keep_frequencies",
    "lost_by_band", "mask_bands", "masked_embeddings", "order_bands", "prepare_bands", "progressive_bands",
    "scramble_phases", "spectrum", "split_bands", "swap_phases"]  # fmt: skip
