#!/usr/bin/env bash
# math-verify 0.9.0, latex2sympy2_extended 1.11.0 (2026-11-28).
#
# \pmod is read as \pm followed by two variables o and d: "3 \pmod{5}" becomes the set
# {3 + 5*o*d, 3 - 5*o*d}. So "3 \pm 5od" is graded as equal to "3 \pmod{5}", and a full congruence
# keeps only the modulus or the value: "x \equiv 3 \pmod 5" and "x \equiv 3 \pmod{5}" differ.
#
# Seen:
#   3 \pmod{5}  reads as  {3 - 5*d*o, 5*d*o + 3}
#   3 \pm 5od equals it: True
#   x \equiv 3 \pmod 5 equals x \equiv 3 \pmod{5}: False
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

congruence = parse(r"$3 \pmod{5}$")
print(r"3 \pmod{5}  reads as ", congruence[0])
plus_minus = verify(congruence, parse(r"$3 \pm 5od$"))
print(r"3 \pm 5od equals it:", plus_minus)
braces = verify(parse(r"$x \equiv 3 \pmod 5$"), parse(r"$x \equiv 3 \pmod{5}$"))
print(r"x \equiv 3 \pmod 5 equals x \equiv 3 \pmod{5}:", braces)
sys.exit(0 if plus_minus and not braces else 1)
PYTHON
