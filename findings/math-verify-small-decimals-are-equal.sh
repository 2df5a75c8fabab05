#!/usr/bin/env bash
# math-verify 0.9.0, latex2sympy2_extended 1.11.0 (2026-11-28).
#
# Where a decimal takes part, both sides are rounded to six places after the point (float_rounding=6),
# not to six digits: all decimals below 0.0000005 are equal to each other, and 0.000000002 equals
# e^{-15}. Written as powers of ten the same numbers differ, and so do a decimal and the integer 0.
#
# Seen:
#   0.0000001 equals 0.0000002: True
#   e^{-15} equals 0.000000002: True
#   1 \times 10^{-7} equals 2 \times 10^{-7}: False
#   0 equals 0.0000001: False
#
# Exits 1 if that has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet \
    "math-verify==0.9.0" "latex2sympy2_extended==1.11.0" "antlr4-python3-runtime==4.13.2" "sympy==1.14.0"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

from math_verify import parse, verify

pairs = [
    ("0.0000001", "0.0000002"),
    ("e^{-15}", "0.000000002"),
    (r"1 \times 10^{-7}", r"2 \times 10^{-7}"),
    ("0", "0.0000001"),
]
seen = [verify(parse(f"${a}$"), parse(f"${b}$")) for a, b in pairs]
for (a, b), equal in zip(pairs, seen, strict=True):
    print(f"{a} equals {b}: {equal}")
sys.exit(0 if seen == [True, True, False, False] else 1)
PYTHON
