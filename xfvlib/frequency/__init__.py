"""Explanations in the frequency domain (Huber, Damer, WACV 2025, arXiv 2407.11941)."""

from xfvlib.frequency.bands import band_energy, band_masks, band_numbers, energy_matched_masks, keep_frequencies, mask_bands, spectrum, split_bands
from xfvlib.frequency.deletion import BAND_ORDERS, band_areas, band_deletion_scores, order_bands, progressive_bands
from xfvlib.frequency.influence import (
    OUTCOMES, FrequencyInfluence, average_influence, band_embeddings, frequency_influence, gradient_influence, influence_table,
    local_influence, masked_embeddings,
)  # fmt: skip
