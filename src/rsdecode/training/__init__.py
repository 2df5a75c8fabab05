"""Process reward models of one's own: labelled steps, training on them, and what they are worth."""

from __future__ import annotations
