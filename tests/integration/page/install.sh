#!/usr/bin/env bash
# Installs a Chromium for the tests of the page, where there is none and apt may install it.
set -euo pipefail
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" > /dev/null; then exit 0; fi
done
if ! command -v apt-get > /dev/null; then
    echo "no Chromium, and no apt-get to install one: the tests of the page are skipped" >&2
    exit 0
fi
root=()
if [ "$(id -u)" != 0 ]; then root=(sudo -n); fi
if ! { "${root[@]}" apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } > /dev/null
then
    echo "apt-get cannot install chromium: the tests of the page are skipped" >&2
fi
