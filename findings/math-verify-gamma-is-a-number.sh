#!/usr/bin/env bash
# math-verify 0.9.0, latex2sympy2_extended 1.11.0 (2026-11-28).
#
# The letters \gamma and \Gamma, alone among the Greek ones, are both read as Euler's constant. An angle
# gamma is graded as equal to 0.5772156649, and \Gamma as equal to \gamma. \alpha and \beta are letters.
#
# Seen:
#   \gamma reads as EulerGamma, \Gamma as EulerGamma, \beta as beta
#   \gamma equals 0.5772156649: True
#   \Gamma equals \gamma: True
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

small, capital, beta = (parse(f"${letter}$") for letter in (r"\gamma", r"\Gamma", r"\beta"))
print(rf"\gamma reads as {small[0]}, \Gamma as {capital[0]}, \beta as {beta[0]}")
number = verify(small, parse("$0.5772156649$"))
print(r"\gamma equals 0.5772156649:", number)
letters = verify(capital, small)
print(r"\Gamma equals \gamma:", letters)
sys.exit(0 if number and letters else 1)
PYTHON
