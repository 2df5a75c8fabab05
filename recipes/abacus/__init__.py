"""The recipe of the embedded family: ``python -m recipes.abacus --out DIR``."""
