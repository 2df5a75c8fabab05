#!/usr/bin/env bash
# Builds the wheel, installs it with the extras of its commands into a clean environment, and runs them there.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$BIN/python" -m build --wheel --outdir "$folder/dist" . > "$folder/build.log" || { cat "$folder/build.log"; exit 1; }
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check -c "$root/constraints.txt" \
    "$(ls "$folder"/dist/*.whl)[local,eval,report]"
mkdir "$folder/empty"
cd "$folder/empty"
rsd="$folder/venv/bin/rsd"
"$rsd" --version
question="Ben has 24 buttons. Ben gets 3 packs of 15 buttons. Ben loses 19 of them. How many buttons are there at the end?"
"$rsd" solve "$question" --json | grep -q '"answer": "50"'
"$rsd" demo --problems 20 > demo.txt
grep -q "rsd" demo.txt
QUESTION=$question "$folder/venv/bin/python" -c "
import os, rsdecode
with rsdecode.load() as rsd:
    assert rsd.solve(os.environ['QUESTION']).answer == '50'
"
"$folder/venv/bin/python" -c "
from importlib.resources import files
page = files('rsdecode') / 'server' / 'page'
for name in ('index.html', 'main.js', 'theme.css', 'icon.svg'):
    assert (page / name).is_file(), name
katex = page / 'vendor' / 'katex'
assert (katex / 'LICENSE').is_file()
assert len(list((katex / 'fonts').iterdir())) == 20
"
echo "the wheel works: $(basename "$folder"/dist/*.whl)"
