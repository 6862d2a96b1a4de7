"""Modality from the name of an image or channel, by one documented rule."""

from __future__ import annotations

import re

__all__ = ["guess_modality", "slug"]

# the first pattern that fits decides; each must fill a whole word of the name
_RULES: tuple[tuple[str, str], ...] = (
    ("CT", r"(ld|hr|cb|ce|nc)?cta?"),
    ("PT", r"pet|pt|suv\w*|fdg|psma"),
    ("MG", r"mg|mammo\w*"),
    ("US", r"us|ultraso\w*|echo"),
    ("CR", r"cr|dx|cxr|x ?ray|radiograph\w*"),
    ("MR", r"mra?|\w*mri|t1\w*|t2\w*|pdw?|flair|adc|dwi|dti|swi|bold|cine\w*"),
)


def guess_modality(name: str) -> str | None:
    """DICOM modality that the name of an image or channel states, or ``None``.

    The name is cut into words at everything that is neither letter nor digit, and case is ignored. ``ct``, ``cta``,
    ``cbct`` ... mean CT; ``pet``, ``pt``, ``suv``, ``fdg`` PT; ``mr``, ``...mri``, ``t1...``, ``t2...``, ``flair``,
    ``adc``, ``dwi``, ``cine...`` MR; ``us``, ``ultrasound`` US; ``mg``, ``mammography`` MG; ``cr``, ``dx``, ``xray``
    CR. Only a CT is taken to be in Hounsfield units; nothing is guessed from voxel values.

    Example:
        >>> [guess_modality(n) for n in ("CT", "pet", "cineMRI", "mr_t1", "T2w", "channel 3")]
        ['CT', 'PT', 'MR', 'MR', 'MR', None]
    """
    words = re.findall(r"[a-z0-9]+", name.lower())
    for modality, pattern in _RULES:
        if any(re.fullmatch(pattern, word) for word in words):
            return modality
    return None


def slug(text: str) -> str:
    """Lower-case name of letters, digits and ``_`` for use as an image or column name.

    Example:
        >>> slug("T1 post-contrast (GRE)"), slug("...")
        ('t1_post_contrast_gre', 'image')
    """
    return "_".join(re.findall(r"[a-z0-9]+", text.lower())) or "image"
